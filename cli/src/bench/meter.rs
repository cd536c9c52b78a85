//! What the kernel counts: CPU time and memory of processes, bytes of links, CPU time of the machine.

use std::time::SystemTime;

/// CPU time of the machine since it started, in clock ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MachineCpu {
    busy: u64,
    all: u64,
}

impl MachineCpu {
    /// As of now; zeros if the kernel does not tell.
    pub(super) fn now() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guests count within user.
        let all: u64 = ticks.iter().take(8).sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        Self { busy: all - idle, all }
    }

    /// The busy share since `earlier`, in percent.
    pub(super) fn busy_percent_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        100.0 * self.busy.saturating_sub(earlier.busy) as f64 / all as f64
    }
}

/// CPU seconds that a process has used, its children's not counted; 0 for one that has ended.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    cpu_ticks(&text) as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// CPU seconds of this process's children that have ended and were waited for.
pub(super) fn ended_children_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    ticks(&text, 13) as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn cpu_ticks(stat: &str) -> u64 {
    ticks(stat, 11)
}

/// The sum of a field after the program's name and the field that follows.
fn ticks(stat: &str, field: usize) -> u64 {
    // The program's name, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().skip(field).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// The most bytes of memory that a process has had at once.
pub(super) fn peak_memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Bytes that the host of a process has received over its link, headers included.
pub(super) fn received_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    link_received(&text)
}

fn link_received(table: &str) -> u64 {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Microseconds since 1970.
pub(super) fn unix_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let before = MachineCpu::parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n");
        let after = MachineCpu::parse("cpu  160 0 70 810 60 0 0 0 0 0\n");
        assert!((after.busy_percent_since(before) - 80.0).abs() < 1e-9);
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 93 0 0 0 250 50 9 9 20 0 1 0 5 0 0";
        assert_eq!((cpu_ticks(stat), ticks(stat, 13)), (300, 18));
        assert_eq!(cpu_ticks(""), 0);
        let table = "Inter-| Receive\n face |bytes\n    lo: 5 1\n  eth0: 1234 5 0 0\n";
        assert_eq!(link_received(table), 1234);
        assert!(peak_memory(std::process::id()) > 0);
    }
}
