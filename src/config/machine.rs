//! How much of the machine this process may use: its control groups' limits, or the machine's own size.

use std::path::Path;
use std::thread;

use crate::bounded;

/// Memory and processors that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Bytes.
    pub memory: u64,
    /// At least one.
    pub cpus: usize,
}

/// Where nothing can be read (not Linux): little enough to be there.
const UNKNOWN_MEMORY: u64 = 1 << 30;

const MAX_FILE: u64 = 1 << 20;

impl Machine {
    /// Asks the operating system.
    pub fn detect() -> Self {
        let groups = groups(&text("/proc/self/cgroup").unwrap_or_default());
        let total = text("/proc/meminfo").and_then(|t| mem_total(&t)).unwrap_or(UNKNOWN_MEMORY);
        let root = Path::new("/sys/fs/cgroup");
        let memory = limit(root, &groups, "memory", "memory.max", "memory.limit_in_bytes", |t| t.trim().parse().ok());
        let quota = limit(root, &groups, "cpu", "cpu.max", "cpu.cfs_quota_us", cpu_quota);
        let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            memory: memory.map_or(total, |m| m.min(total)).max(1),
            cpus: quota.map_or(cpus, |q| usize::try_from(q).unwrap_or(cpus).min(cpus)).max(1),
        }
    }
}

/// The smallest limit on the way from this process's group to the root.
fn limit(
    mount: &Path,
    groups: &[Group],
    controller: &str,
    v2: &str,
    v1: &str,
    parse: impl Fn(&str) -> Option<u64>,
) -> Option<u64> {
    let mut smallest = None::<u64>;
    for group in groups {
        let (root, file) = match group {
            Group::V2(_) => (mount.to_owned(), v2),
            Group::V1(c, _) if c.split(',').any(|c| c == controller) => (mount.join(c), v1),
            Group::V1(..) => continue,
        };
        let (Group::V2(path) | Group::V1(_, path)) = group;
        for ancestor in Path::new(path.trim_start_matches('/')).ancestors() {
            let directory = root.join(ancestor);
            let found = text(directory.join(file)).and_then(|limit| {
                let period = text(directory.join("cpu.cfs_period_us")).filter(|_| controller == "cpu");
                parse(&period.map_or_else(|| limit.clone(), |period| format!("{} {}", limit.trim(), period.trim())))
            });
            smallest = match (smallest, found) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    smallest
}

#[derive(Debug, PartialEq, Eq)]
enum Group {
    V2(String),
    V1(String, String),
}

/// `/proc/self/cgroup`: `hierarchy:controllers:path` per line, `0::path` for version 2.
fn groups(text: &str) -> Vec<Group> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            // Within a namespace the path may point above its root; what is visible there is the root itself.
            let path = if path.contains("..") { "/" } else { path }.to_owned();
            Some(if controllers.is_empty() { Group::V2(path) } else { Group::V1(controllers.to_owned(), path) })
        })
        .collect()
}

/// `150000 100000` is one and a half processors, which two workers use best; `max 100000` and `-1 100000` are no limit.
fn cpu_quota(text: &str) -> Option<u64> {
    let mut parts = text.split_whitespace();
    let (quota, period): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (period > 0).then(|| quota.div_ceil(period).max(1))
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    bounded::read_text_file(path.as_ref(), MAX_FILE).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions_are_read() {
        assert_eq!(groups("0::/kubepods/pod1\n"), [Group::V2("/kubepods/pod1".into())]);
        assert_eq!(groups("0::/../x\n"), [Group::V2("/".into())]);
        assert_eq!(
            groups("5:cpu,cpuacct:/a\n4:memory:/b:c\nnonsense\n"),
            [Group::V1("cpu,cpuacct".into(), "/a".into()), Group::V1("memory".into(), "/b:c".into())]
        );
    }

    #[test]
    fn a_quota_counts_begun_processors() {
        assert_eq!(cpu_quota("200000 100000\n"), Some(2));
        assert_eq!(cpu_quota("150000 100000"), Some(2));
        assert_eq!(cpu_quota("50000 100000"), Some(1));
        assert_eq!(cpu_quota("max 100000"), None);
        assert_eq!(cpu_quota("-1 100000"), None);
        assert_eq!(cpu_quota("100000 0"), None);
    }

    #[test]
    fn the_total_is_in_bytes() {
        assert_eq!(mem_total("MemFree: 1 kB\nMemTotal:        2048 kB\n"), Some(2 << 20));
        assert_eq!(mem_total("MemTotal:        2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(mem_total(""), None);
    }

    #[test]
    fn the_smallest_limit_up_to_the_root_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("pod/container/memory.max", "max\n");
        write("pod/memory.max", "1000\n");
        write("memory.max", "2000\n");
        write("pod/cpu.max", "150000 100000\n");
        write("memory/a/memory.limit_in_bytes", "500\n");
        write("cpu,cpuacct/a/cpu.cfs_quota_us", "300000\n");
        write("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
        let memory = |groups: &str| {
            let parse = |t: &str| t.trim().parse().ok();
            limit(root.path(), &self::groups(groups), "memory", "memory.max", "memory.limit_in_bytes", parse)
        };
        let cpu =
            |groups: &str| limit(root.path(), &self::groups(groups), "cpu", "cpu.max", "cpu.cfs_quota_us", cpu_quota);
        assert_eq!(memory("0::/pod/container"), Some(1000));
        assert_eq!(memory("0::/"), Some(2000));
        assert_eq!(memory("4:memory:/a\n5:cpu,cpuacct:/a"), Some(500));
        assert_eq!(memory("4:pids:/a"), None);
        assert_eq!(cpu("0::/pod/container"), Some(2));
        assert_eq!(cpu("4:memory:/a\n5:cpu,cpuacct:/a"), Some(3));
        assert_eq!(cpu("0::/"), None);
    }

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::detect();
        assert!(machine.memory > 1 << 20 && machine.cpus > 0, "{machine:?}");
    }
}
