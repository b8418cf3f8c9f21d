//! Results: one table for people, one file for programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// One line of the results.
#[derive(Debug, Serialize)]
pub struct Line {
    pub name: String,
    pub unit: &'static str,
    pub value: f64,
    pub peer: Option<&'static str>,
    pub peer_value: Option<f64>,
    /// `value / peer_value`.
    pub ratio: Option<f64>,
    #[serde(skip)]
    pub reach: Option<Reach>,
}

/// What a figure is to stay within.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    Ratio(f64),
    /// The ratio is to be that high.
    RatioAtLeast(f64),
    Value(f64),
}

/// All lines, in order.
#[derive(Default)]
pub struct Report(Vec<Line>);

impl Report {
    /// A figure beside another's.
    pub fn compare(
        &mut self,
        name: String,
        unit: &'static str,
        value: f64,
        (peer, peer_value): (&'static str, f64),
        reach: Option<Reach>,
    ) {
        let ratio = (peer_value != 0.0).then(|| value / peer_value);
        self.0.push(Line { name, unit, value, peer: Some(peer), peer_value: Some(peer_value), ratio, reach });
    }

    /// A figure that stands alone.
    pub fn alone(&mut self, name: String, unit: &'static str, value: f64, reach: Option<Reach>) {
        self.0.push(Line { name, unit, value, peer: None, peer_value: None, ratio: None, reach });
    }

    /// As Markdown.
    pub fn table(&self) -> String {
        let mut table = String::from(
            "| benchmark | unit | ours | beside | its figure | ratio | reach |\n|---|---|---:|---|---:|---:|---:|\n",
        );
        for line in &self.0 {
            let show = |value: Option<f64>| value.map_or_else(String::new, significant);
            let reach = line.reach.map_or_else(String::new, |reach| {
                let (sign, limit, met) = match reach {
                    Reach::Ratio(limit) => ("≤", limit, line.ratio.is_some_and(|ratio| ratio <= limit)),
                    Reach::RatioAtLeast(limit) => {
                        ("≥", limit, line.ratio.is_some_and(|ratio| ratio >= limit))
                    }
                    Reach::Value(limit) => ("≤", limit, line.value <= limit),
                };
                format!("{sign} {} {}", significant(limit), if met { "met" } else { "**missed**" })
            });
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {} | {} | {} |",
                line.name,
                line.unit,
                significant(line.value),
                line.peer.unwrap_or_default(),
                show(line.peer_value),
                show(line.ratio),
                reach
            );
        }
        table
    }

    /// As JSON.
    pub fn write(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_string_pretty(&self.0)? + "\n")?;
        Ok(())
    }
}

/// Three significant digits.
fn significant(value: f64) -> String {
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let decimals = usize::try_from(2 - magnitude).unwrap_or(0).min(4);
    format!("{value:.decimals$}")
}
