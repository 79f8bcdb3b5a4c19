//! Whether a command printed what its document shows.

/// What stands for whatever differs from run to run: alone on a line for lines, else for characters.
const ANY: &str = "…";

/// The first line of the document that nothing printed fits, if there is one.
pub fn differs(shown: &str, printed: &str) -> Option<String> {
    let shown: Vec<&str> = shown.lines().map(str::trim_end).collect();
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let mut furthest = 0;
    if lines_fit(&shown, &printed, 0, &mut furthest) {
        return None;
    }
    let end = || "the end, where more was printed".to_owned();
    Some(shown.get(furthest).map_or_else(end, |line| format!("`{line}`")))
}

fn lines_fit(shown: &[&str], printed: &[&str], at: usize, furthest: &mut usize) -> bool {
    *furthest = (*furthest).max(at);
    match (shown.first(), printed.first()) {
        (None, None) => true,
        (Some(line), _) if line.trim() == ANY => {
            (0..=printed.len()).any(|skipped| lines_fit(&shown[1..], &printed[skipped..], at + 1, furthest))
        }
        (Some(line), Some(real)) => line_fits(line, real) && lines_fit(&shown[1..], &printed[1..], at + 1, furthest),
        _ => false,
    }
}

fn line_fits(shown: &str, real: &str) -> bool {
    let Some((before, after)) = shown.split_once(ANY) else { return shown == real };
    let Some(rest) = real.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).any(|at| line_fits(after, &rest[at..]))
}

#[test]
fn what_differs_is_noticed() {
    for (shown, printed) in [
        ("a\nb", "a\nb\n"),
        ("a \"sc1.…\" z", "a \"sc1.Aé-_\" z"),
        ("…\nb", "1\n2\nb"),
        ("a\n  …", "a"),
        ("a…c…e", "abcde"),
        ("", ""),
    ] {
        assert_eq!(differs(shown, printed), None, "{shown} / {printed}");
    }
    for (shown, printed, line) in [
        ("a\nb", "a\nc", "`b`"),
        ("a", "a\nb", "the end, where more was printed"),
        ("a\nb", "a", "`b`"),
        ("…\nx", "1\n2", "`x`"),
        ("a…c", "ab", "`a…c`"),
        ("", "x", "the end, where more was printed"),
    ] {
        assert_eq!(differs(shown, printed).as_deref(), Some(line), "{shown} / {printed}");
    }
}
