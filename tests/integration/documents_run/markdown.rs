//! The blocks of a document, and what their info strings ask for.
//!
//! | block | is |
//! |---|---|
//! | `sh` | run, and must end with 0 |
//! | `sh exit N` | run, and must end with N |
//! | `sh norun REASON` | not run, and says why |
//! | `text output` | what the block before printed, `…` for what differs: within a line, or whole lines |
//! | `LANGUAGE file NAME` | written to a file before the blocks that follow |
//! | `LANGUAGE of PATH` | a part of a file of the repository, word for word |

/// Languages that mean nothing to the test; a shell by another name would be run by nobody.
const LANGUAGES: [&str; 8] = ["text", "yaml", "json", "python", "sql", "promql", "toml", "http"];

/// What an indented line begins with if it is a command: such a block is fenced, or it would not be run.
const COMMANDS: [&str; 20] = [
    "sidecloak ",
    "cargo ",
    "curl ",
    "apt-get ",
    "./",
    "openssl ",
    "mkdir ",
    "printf ",
    "cat ",
    "export ",
    "docker ",
    "kubectl ",
    "helm ",
    "psql ",
    "pg_dump ",
    "podman ",
    "git ",
    "tests/",
    "python3 ",
    "cp ",
];

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Run { exit: i32 },
    NotRun(String),
    Output,
    File(String),
    Of(String),
    Other,
}

#[derive(Debug, Clone)]
pub struct Block {
    /// Of its first line of text, from 1.
    pub line: usize,
    pub language: String,
    pub kind: Kind,
    pub text: String,
}

/// All fenced blocks, in order; or what is wrong with one.
pub fn blocks(document: &str) -> Result<Vec<Block>, String> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = document.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            let command = line.strip_prefix("    ").filter(|text| COMMANDS.iter().any(|c| text.starts_with(c)));
            match command {
                Some(command) => {
                    return Err(format!("line {}: `{command}` is a command outside of a fenced block", number + 1));
                }
                None => continue,
            }
        };
        let mut text = String::new();
        loop {
            match lines.next() {
                Some((_, "```")) => break,
                Some((_, line)) => text.extend([line, "\n"]),
                None => return Err(format!("line {}: a block without an end", number + 1)),
            }
        }
        let (language, asked) = info.split_once(' ').unwrap_or((info, ""));
        let kind = kind(language, asked.trim(), blocks.last()).map_err(|e| format!("line {}: {e}", number + 1))?;
        blocks.push(Block { line: number + 2, language: language.to_owned(), kind, text });
    }
    Ok(blocks)
}

fn kind(language: &str, asked: &str, before: Option<&Block>) -> Result<Kind, String> {
    let (word, rest) = asked.split_once(' ').unwrap_or((asked, ""));
    Ok(match (language, word) {
        ("sh", "") => Kind::Run { exit: 0 },
        ("sh", "exit") => Kind::Run { exit: rest.parse().map_err(|_| format!("`{rest}` is no exit code"))? },
        ("sh", "norun") if rest.split(' ').count() > 1 => Kind::NotRun(rest.to_owned()),
        ("sh", "norun") => return Err("norun without a reason".to_owned()),
        ("text", "output") if before.is_some_and(|b| matches!(b.kind, Kind::Run { .. })) => Kind::Output,
        ("text", "output") => return Err("output of what?".to_owned()),
        ("sh", _) => return Err(format!("`{asked}` is none of exit, norun")),
        _ if !LANGUAGES.contains(&language) => return Err(format!("the language `{language}`: for commands write sh")),
        (_, "file") if !rest.is_empty() => Kind::File(rest.to_owned()),
        (_, "of") if !rest.is_empty() => Kind::Of(rest.to_owned()),
        (_, "") => Kind::Other,
        _ => return Err(format!("`{asked}` is none of file, of, output")),
    })
}

#[test]
fn a_block_is_what_its_info_string_says() {
    let kinds = |text: &str| blocks(text).map(|blocks| blocks.into_iter().map(|b| b.kind).collect::<Vec<_>>());
    let text = "# T\n```sh\na\n```\n```text output\nb\n```\n```sh exit 3\n```\n```sh norun needs a cluster\n```\n```yaml file r.yaml\n```\n```json\n```\n";
    let not = Kind::NotRun("needs a cluster".to_owned());
    let (run, fails) = (Kind::Run { exit: 0 }, Kind::Run { exit: 3 });
    assert_eq!(kinds(text).unwrap(), [run, Kind::Output, fails, not, Kind::File("r.yaml".to_owned()), Kind::Other]);
    assert_eq!(blocks(text).unwrap()[0].line, 3);
    for bad in [
        "```sh norun\n```\n",
        "```bash\na\n```\n",
        "```console\na\n```\n",
        "```\na\n```\n",
        "```sh later\n```\n",
        "```text output\n```\n",
        "```sh exit x\n```\n",
        "```yaml files x\n```\n",
        "```sh\na\n",
        "text\n\n    curl http://127.0.0.1/\n",
    ] {
        assert!(kinds(bad).is_err(), "{bad}");
    }
}
