//! `sidecloak inspect`: what a token says without keys.

use std::io::{self, BufRead, Read};

use serde_json::json;

use super::exit::{Exit, Failure};
use super::out::Out;
use crate::token::v1::inspect;

/// Of standard input.
const MAX_INPUT: u64 = 64 << 20;

/// See `sidecloak inspect --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Tokens; `-` or none: one per line of standard input
    #[arg(value_name = "TOKEN")]
    pub tokens: Vec<String>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let mut bad = 0usize;
    if args.tokens.is_empty() || args.tokens.iter().any(|t| t == "-") {
        for line in io::stdin().lock().take(MAX_INPUT).lines() {
            let line = line.map_err(|e| Failure::io("standard input", &e))?;
            let token = line.trim().trim_matches('"');
            if !token.is_empty() {
                bad += usize::from(!show(token, out)?);
            }
        }
    } else {
        for token in &args.tokens {
            bad += usize::from(!show(token, out)?);
        }
    }
    if bad == 0 { Ok(()) } else { Err(Failure::new(Exit::No, format!("{bad} of them are no tokens of this version"))) }
}

fn show(text: &str, out: &mut Out) -> Result<bool, Failure> {
    let token = match inspect(text.as_bytes()) {
        Ok(token) => token,
        Err(error) if out.json() => {
            out.value(&json!({ "error": error.to_string() }))?;
            return Ok(false);
        }
        Err(error) => {
            out.line(&error.to_string())?;
            return Ok(false);
        }
    };
    let value = serde_json::to_value(&token).map_err(|e| Failure::internal(e.to_string()))?;
    if out.json() {
        out.value(&value)?;
        return Ok(true);
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        out.line(&format!("{:<20} {value}", name.replace('_', " ")))?;
    }
    out.line("")?;
    Ok(true)
}
