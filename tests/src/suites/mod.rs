//! Tests that every runtime must pass, written once; the macros turn them into tests of its crate.

pub mod chaos;
pub mod http;
pub mod pipe;
pub mod server;
pub mod store;

/// The tests of a pipe: of the example with that name, which is started with these flags too.
#[macro_export]
macro_rules! pipe_suite {
    ($pipe:literal $(, $flag:literal)*) => {
        $crate::pipe_suite! { @ $pipe, [$($flag),*],
            every_line_arrives_once,
            an_invalid_line_is_told_and_the_rest_goes_on,
            whatever_an_attacker_writes_the_event_arrives,
            a_kind_that_is_turned_off_is_no_loss,
            nothing_but_invalid_lines_is_told_by_the_exit_code,
            unusable_flags_are_told_before_anything_is_read,
            what_could_not_be_delivered_in_time_is_told_by_the_exit_code,
            a_signal_ends_it_like_the_end_of_the_input,
            it_stops_reading_while_the_agent_is_full,
            each_record_is_acknowledged_once_with_its_key_and_line,
            a_record_that_is_lost_is_answered_with_the_reason,
            what_may_still_arrive_is_not_answered,
            it_ends_in_time_although_nobody_reads_its_output,
            names_are_looked_up_again,
            secrets_come_from_the_environment,
            every_warning_of_the_start_is_told_once,
            memory_stays_small_whatever_the_platform_answers,
        }
    };
    (@ $pipe:literal, $flags:tt, $($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            $crate::suites::pipe::$name($crate::pipe_process::Pipe { name: $pipe, flags: &$flags });
        })*
    };
}
