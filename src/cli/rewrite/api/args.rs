//! The flags of `sidecloak rewrite api`.

use std::path::PathBuf;

/// See `sidecloak rewrite api --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub whom: Whom,
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub written: Written,
    #[command(flatten)]
    pub stored: Stored,
    #[command(flatten)]
    pub pace: Pace,
    #[command(flatten)]
    pub left: Left,
}

/// Whom to ask.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Whom to ask")]
pub(crate) struct Whom {
    /// The proxy: http://HOST:PORT or https://HOST:PORT, with a path before all others if need be
    #[arg(long, value_name = "URL")]
    pub through: String,
    /// A header of every request, which is no secret; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE")]
    pub headers: Vec<String>,
    /// A file of headers, one per line, that nobody else may read
    #[arg(long, value_name = "FILE")]
    pub header_file: Option<PathBuf>,
    /// A file with the token for `Authorization: Bearer`, that nobody else may read
    #[arg(long, value_name = "FILE")]
    pub bearer_file: Option<PathBuf>,
    /// PEM file of who may have issued the certificates [default: whom the system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate to show
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

/// Which records.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which records")]
pub(crate) struct Which {
    /// The list of records, its query with {page}, {offset}, {limit} or {cursor}; without, `Link: rel=next` is followed
    #[arg(long, value_name = "PATH", required_unless_present_any = ["ids", "paths"], conflicts_with_all = ["ids", "paths"])]
    pub list: Option<String>,
    /// Selects the records of the list
    #[arg(long, value_name = "JSONPATH", default_value = "$[*]")]
    pub items: String,
    /// Selects the id in a record of the list
    #[arg(long, value_name = "JSONPATH", default_value = "$.id")]
    pub id: String,
    /// Selects the cursor for {cursor}, or else the next page's address, in the list
    #[arg(long, value_name = "JSONPATH", requires = "list")]
    pub next: Option<String>,
    /// The number of the first page
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub first_page: u64,
    /// What {limit} is
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub page_size: u64,
    /// A file with an id per line instead of a list; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "paths", requires = "item")]
    pub ids: Option<PathBuf>,
    /// A file with a record's path per line instead of a list; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub paths: Option<PathBuf>,
    /// The path of a record [default: the list's path and /{id}]
    #[arg(long, value_name = "PATH", conflicts_with = "paths")]
    pub item: Option<String>,
}

/// What is written.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is written")]
pub(crate) struct Written {
    /// How a record is written
    #[arg(long, value_name = "METHOD", default_value = "PUT", value_parser = ["PUT", "PATCH", "POST"])]
    pub method: String,
    /// Selects the record in the answer to reading it, if the answer is not the record
    #[arg(long, value_name = "JSONPATH")]
    pub record: Option<String>,
    /// Write these members of the record alone
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "without")]
    pub members: Vec<String>,
    /// Write all members but these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub without: Vec<String>,
    /// The media type of what is written [default: that of what was read]
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Write records that have no strong entity tag, too: what others write meanwhile may be lost
    #[arg(long)]
    pub without_etag: bool,
    /// Write nothing; say what would be
    #[arg(long)]
    pub dry_run: bool,
    /// The way back: the proxy's rules are in `mode: read`, and what is stored shall be plaintext
    #[arg(long, requires = "direct")]
    pub open: bool,
}

/// Looking at what is stored.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Looking at what is stored")]
pub(crate) struct Stored {
    /// The application itself: what is stored is looked at, what is sealed is left alone, and what was written is looked at again
    #[arg(long, value_name = "URL", requires = "rules")]
    pub direct: Option<String>,
    /// The proxy's rules, which say where to look
    #[arg(long, value_name = "PATH")]
    pub rules: Option<PathBuf>,
    /// Configuration file, for the profiles that rules name [default: ./sidecloak.yaml if it is there]
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_CONFIG")]
    pub config: Option<PathBuf>,
    /// The listener that the walk goes through
    #[arg(long, value_name = "NAME", default_value = "front")]
    pub listener: String,
    /// Write without looking at what is stored: nobody sees whether it is sealed
    #[arg(long, conflicts_with_all = ["direct", "open"])]
    pub without_direct: bool,
    /// Write what is stored as it should be, too: it is sealed anew
    #[arg(long)]
    pub all: bool,
}

/// How fast.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How fast")]
pub(crate) struct Pace {
    /// At most so many requests: 50/s, 300/m
    #[arg(long, value_name = "N/s", value_parser = rate)]
    pub rate: Option<f64>,
    /// So many records at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Try a request so often when the answer is 429, 502, 503 or 504, or there is none
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub tries: u16,
    /// Wait for an answer at most so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// The longest answer, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_body: u16,
}

/// What is left behind.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is left behind")]
pub(crate) struct Left {
    /// Write down here how far the walk is, and go on from there
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Write down here which records failed, by their place
    #[arg(long, value_name = "FILE")]
    pub failures: Option<PathBuf>,
    /// Write down their ids, too
    #[arg(long, requires = "failures")]
    pub with_ids: bool,
    /// End when more records than this have failed
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub max_failures: u64,
}

/// `50/s`, `300/m`, `50`.
fn rate(text: &str) -> Result<f64, String> {
    let (count, seconds) = match text.split_once('/') {
        None => (text, 1.0),
        Some((count, "s")) => (count, 1.0),
        Some((count, "m")) => (count, 60.0),
        Some(_) => return Err("a rate is written 50/s or 300/m".to_owned()),
    };
    let count: f64 = count.trim().parse().map_err(|_| "a rate is written 50/s or 300/m".to_owned())?;
    let rate = count / seconds;
    if (0.001..=1_000_000.0).contains(&rate) { Ok(rate) } else { Err("a rate is from 0.06/m to 1000000/s".to_owned()) }
}
