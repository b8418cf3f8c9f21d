use std::time::Duration;

use arbitrary::{Result, Unstructured};
use guard_agent_proto::{AgentConfig, Endpoint, Input, Kind, Response};

use super::driver::{Driver, record};

/// Answers real requests, of every endpoint, with any status, headers and body.
pub fn responses(data: &[u8]) {
    let mut driver = driver();
    let mut u = Unstructured::new(data);
    while !u.is_empty() && answer_one(&mut driver, &mut u).is_ok() {}
    driver.finish();
}

fn driver() -> Driver {
    let mut config = AgentConfig::builder("fuzzing-api-key").build().unwrap();
    config.project_id = Some(String::from("project"));
    Driver::new(&config, false)
}

fn answer_one(driver: &mut Driver, u: &mut Unstructured<'_>) -> Result<()> {
    let endpoint = *u.choose(&[
        Endpoint::Events,
        Endpoint::Events,
        Endpoint::Metrics,
        Endpoint::Status,
        Endpoint::Rules,
    ])?;
    let status = if u.ratio(1, 2)? { 200 } else { u.int_in_range(100..=599)? };
    let retry_after = u.arbitrary::<Option<&str>>()?.map(String::from);
    let etag = u.arbitrary::<Option<&str>>()?.map(String::from);
    let date = u.arbitrary::<Option<&str>>()?.map(String::from);
    let length = u.arbitrary_len::<u8>()?.min(u.len());
    let body = u.bytes(length)?.to_vec();
    exchange(driver, endpoint, Response { status, retry_after, etag, date, body, ..Response::default() });
    Ok(())
}

/// Makes the agent ask that endpoint, and answers.
fn exchange(driver: &mut Driver, endpoint: Endpoint, response: Response) {
    match endpoint {
        Endpoint::Events => driver.input(Input::Records(vec![record(Kind::Event, true, 10); 5])),
        Endpoint::Metrics => driver.input(Input::Records(vec![record(Kind::Metric, false, 10); 5])),
        Endpoint::Status => driver.advance(Duration::from_secs(300)),
        Endpoint::Rules => driver.input(Input::RefreshRules),
    }
    // Until it is this endpoint's turn, but not for ever: it may be held, or all requests with it.
    for _ in 0..20 {
        if driver.requests.iter().any(|(_, asked)| *asked == endpoint) {
            break;
        }
        driver.advance(Duration::from_secs(1));
    }
    let Some(place) = driver.requests.iter().position(|(_, asked)| *asked == endpoint) else { return };
    let (id, _) = driver.requests.swap_remove(place);
    driver.input(Input::Response { id, result: Ok(response) });
    if let Some(document) = driver.agent.rules() {
        // What was taken over can be told to others.
        serde_json::to_string(&document.rules).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::super::pseudo_random_inputs;
    use super::*;

    #[test]
    fn any_answer_keeps_the_accounting() {
        pseudo_random_inputs().for_each(|data| super::responses(&data));
    }

    #[test]
    fn bodies_that_look_like_the_platform_keep_the_accounting() {
        let bodies = [
            r#"{"success":false,"errors":[{"index":18446744073709551615}]}"#,
            r#"{"success":false,"errors":{"0":"bad"}}"#,
            r#"{"events_dropped_invalid_timestamp":18446744073709551615}"#,
            r#"{"rule_id":"x","ttl":9223372036854775807,"version":-1}"#,
            r#"{"detail":"maintenance"}"#,
        ];
        for body in bodies {
            let mut driver = driver();
            for endpoint in [Endpoint::Events, Endpoint::Metrics, Endpoint::Status, Endpoint::Rules] {
                exchange(&mut driver, endpoint, Response { body: body.into(), ..Response::accepted() });
            }
            driver.finish();
        }
    }
}
