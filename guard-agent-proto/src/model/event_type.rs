//! The event types that the platform knows; any other text is accepted too.

macro_rules! event_types {
    ($count:literal: $($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*

        /// Every known type.
        pub const ALL: [&str; $count] = [$($name),*];
    };
}

event_types! { 39:
    /// An address was banned.
    IP_BANNED = "ip_banned",
    /// A ban of an address ended or was lifted.
    IP_UNBANNED = "ip_unbanned",
    /// A request of a blocked address was refused.
    IP_BLOCKED = "ip_blocked",
    /// An address could not be banned.
    IP_BAN_FAILED = "ip_ban_failed",
    /// A client exceeded its rate.
    RATE_LIMITED = "rate_limited",
    /// The rate limiter's script was loaded again.
    RATE_LIMIT_SCRIPT_RELOADED = "rate_limit_script_reloaded",
    /// A request looks suspicious.
    SUSPICIOUS_REQUEST = "suspicious_request",
    /// A request from a blocked cloud provider was refused.
    CLOUD_BLOCKED = "cloud_blocked",
    /// A request from a blocked country was refused.
    COUNTRY_BLOCKED = "country_blocked",
    /// A request tried to break in.
    PENETRATION_ATTEMPT = "penetration_attempt",
    /// A client broke a rule of behaviour.
    BEHAVIORAL_VIOLATION = "behavioral_violation",
    /// A request of a blocked user agent was refused.
    USER_AGENT_BLOCKED = "user_agent_blocked",
    /// A check of the application's own decided.
    CUSTOM_REQUEST_CHECK = "custom_request_check",
    /// A rule given by a decorator was broken.
    DECORATOR_VIOLATION = "decorator_violation",
    /// A part of the request could not be decoded.
    DECODING_ERROR = "decoding_error",
    /// A callback of the detection engine failed.
    DETECTION_ENGINE_CALLBACK_ERROR = "detection_engine_callback_error",
    /// The country of an address could not be found.
    GEO_LOOKUP_FAILED = "geo_lookup_failed",
    /// A request was sent on to HTTPS.
    HTTPS_ENFORCED = "https_enforced",
    /// A pattern ran slowly.
    PATTERN_ANOMALY_SLOW_EXECUTION = "pattern_anomaly_slow_execution",
    /// A pattern ran out of time.
    PATTERN_ANOMALY_TIMEOUT = "pattern_anomaly_timeout",
    /// A pattern matches unusually often or seldom.
    PATTERN_ANOMALY_STATISTICAL_ANOMALY = "pattern_anomaly_statistical_anomaly",
    /// The connection to Redis changed.
    REDIS_CONNECTION = "redis_connection",
    /// Redis failed.
    REDIS_ERROR = "redis_error",
    /// A dynamic rule took effect.
    DYNAMIC_RULE_APPLIED = "dynamic_rule_applied",
    /// The dynamic rules changed.
    DYNAMIC_RULE_UPDATED = "dynamic_rule_updated",
    /// A path is exempt from checks.
    PATH_EXCLUDED = "path_excluded",
    /// No route fits a request.
    ROUTE_UNRESOLVED = "route_unresolved",
    /// A pattern matched.
    PATTERN_DETECTED = "pattern_detected",
    /// A pattern was added.
    PATTERN_ADDED = "pattern_added",
    /// A pattern was removed.
    PATTERN_REMOVED = "pattern_removed",
    /// Access was denied.
    ACCESS_DENIED = "access_denied",
    /// A client failed to authenticate.
    AUTHENTICATION_FAILED = "authentication_failed",
    /// Content was refused or changed.
    CONTENT_FILTERED = "content_filtered",
    /// Emergency mode was turned on.
    EMERGENCY_MODE_ACTIVATED = "emergency_mode_activated",
    /// Emergency mode refused a request.
    EMERGENCY_MODE_BLOCK = "emergency_mode_block",
    /// A dynamic rule was broken.
    DYNAMIC_RULE_VIOLATION = "dynamic_rule_violation",
    /// A check was bypassed.
    SECURITY_BYPASS = "security_bypass",
    /// Security headers were added to an answer.
    SECURITY_HEADERS_APPLIED = "security_headers_applied",
    /// A browser reported a violation of the content security policy.
    CSP_VIOLATION = "csp_violation",
}
