use std::io::{self, Write as _};
use std::process::ExitCode;

use super::wrongs::{WRONGS, Wrong};
use super::{SCENARIOS, Simulated, beside_each_other, failure};

/// What the scenarios said of an agent.
struct Row<'a> {
    /// `None` is the right one.
    wrong: Option<&'static Wrong>,
    /// By scenario.
    failures: &'a [Option<String>],
}

/// Plays the list on virtual time with every wrong agent and with the right one, and prints what came of it.
/// Arguments choose wrongs by a part of their name.
///
/// It fails if a wrong is not seen by the scenario that is there for it, if any sees something in the right agent, or if
/// a scenario sees nothing in any of all wrong ones: such a scenario shows nothing.
#[must_use]
pub fn sabotage() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = |wrong: &&Wrong| parts.is_empty() || parts.iter().any(|part| wrong.name.contains(part));
    let agents: Vec<_> = [None].into_iter().chain(WRONGS.iter().filter(is_chosen).map(Some)).collect();
    let jobs: Vec<_> =
        agents.iter().flat_map(|wrong| SCENARIOS.iter().map(move |scenario| (*wrong, scenario))).collect();
    let failures = beside_each_other(&jobs, |(wrong, scenario)| failure(scenario, &Simulated, *wrong));
    let rows = agents.iter().zip(failures.chunks(SCENARIOS.len()));
    let rows: Vec<_> = rows.map(|(wrong, failures)| Row { wrong: *wrong, failures }).collect();
    // There is nobody to tell that standard output is closed.
    let _ = print(&rows);
    let is_complete = !parts.is_empty() || blind(&rows).is_empty();
    if is_complete && rows.len() > 1 && rows.iter().all(Row::is_as_expected) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Row<'_> {
    fn is_as_expected(&self) -> bool {
        match self.wrong {
            None => self.failures.iter().all(Option::is_none),
            Some(wrong) => self.seen_by().any(|name| name.contains(wrong.seen_by)),
        }
    }

    /// The names of the scenarios that failed.
    fn seen_by(&self) -> impl Iterator<Item = &'static str> {
        SCENARIOS
            .iter()
            .zip(self.failures)
            .filter(|(_, failure)| failure.is_some())
            .map(|(scenario, _)| scenario.name)
    }
}

/// The names of the scenarios that saw none of the wrongs.
fn blind(rows: &[Row<'_>]) -> Vec<&'static str> {
    let wrong = || rows.iter().filter(|row| row.wrong.is_some());
    let sees = |name| wrong().any(|row| row.seen_by().any(|seen_by| seen_by == name));
    SCENARIOS.iter().map(|scenario| scenario.name).filter(|name| !sees(*name)).collect()
}

fn print(rows: &[Row<'_>]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n| an agent that | is seen by |\n| --- | --- |")?;
    let (right, wrong): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.wrong.is_none());
    for row in &wrong {
        let name = row.wrong.map_or("", |wrong| wrong.name);
        let seen_by: Vec<_> = row.seen_by().collect();
        let seen_by = if seen_by.is_empty() { String::from("**nothing**") } else { seen_by.join("; ") };
        writeln!(out, "| {name} | {seen_by} |")?;
    }
    let blind = blind(rows);
    writeln!(out, "\n{} of {} scenarios saw none of these.", blind.len(), SCENARIOS.len())?;
    for name in blind {
        writeln!(out, "- {name}")?;
    }
    for row in &right {
        for (scenario, failure) in SCENARIOS.iter().zip(row.failures) {
            if let Some(failure) = failure {
                writeln!(out, "\nNothing is wrong, but {}: {failure}", scenario.name)?;
            }
        }
    }
    for row in wrong.iter().filter(|row| !row.is_as_expected()) {
        if let Some(wrong) = row.wrong {
            writeln!(out, "\nAn agent that {} is not seen by {:?}", wrong.name, wrong.seen_by)?;
        }
    }
    let caught = wrong.iter().filter(|row| row.is_as_expected()).count();
    writeln!(out, "\n{} wrongs, {caught} caught", wrong.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short form of `make sabotage`: each wrong agent is played with the scenario that is there for it, and so is
    /// the right one.
    #[test]
    fn each_wrong_is_seen_by_the_scenario_that_is_there_for_it() {
        let wrongs: Vec<&'static Wrong> = WRONGS.iter().collect();
        let problems = beside_each_other(&wrongs, |wrong| {
            let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name.contains(wrong.seen_by))
            else {
                return Some(format!("no scenario is called {:?}", wrong.seen_by));
            };
            if failure(scenario, &Simulated, Some(*wrong)).is_none() {
                return Some(format!("an agent that {wrong:?} is not seen by {:?}", scenario.name));
            }
            let failure = failure(scenario, &Simulated, None)?;
            Some(format!("nothing is wrong, but {}: {failure}", scenario.name))
        });
        let problems: Vec<_> = problems.into_iter().flatten().collect();
        assert_eq!(problems, [""; 0]);
    }
}
