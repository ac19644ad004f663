//! Memory of a process and its descendants, shared pages counted once (proportional set size).

use std::collections::BTreeMap;
use std::fs;

/// Proportional set size of processes, by name, in KiB.
pub type MemoryByName = BTreeMap<String, u64>;

struct Process {
    pid: u32,
    parent: u32,
    name: String,
}

/// Memory of the process `root` and all its descendants, by the name of the program; a process that ended
/// meanwhile, or whose memory this user may not read, is left out.
pub fn memory_of_tree(root: u32) -> MemoryByName {
    let processes: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| read_process(entry.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(processes.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        next += 1;
    }
    let mut memory = MemoryByName::new();
    for process in processes.iter().filter(|process| family.contains(&process.pid)) {
        if let Some(kibibytes) = proportional_set_size(process.pid) {
            *memory.entry(process.name.clone()).or_default() += kibibytes;
        }
    }
    memory
}

/// The fixture's name for our own programs (`… fixture NAME …`), the program's own otherwise.
fn read_process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command is in parentheses and may hold any character; fields follow the last one.
    let (head, fields) = stat.rsplit_once(')')?;
    let command = head.split_once('(')?.1.to_owned();
    let parent = fields.split_whitespace().nth(1)?.parse().ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments: Vec<_> = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let fixture = arguments.iter().position(|argument| argument == "fixture");
    let name = match fixture.and_then(|at| arguments.get(at + 1)) {
        Some(name) => name.to_string(),
        None => command,
    };
    Some(Process { pid, parent, name })
}

fn proportional_set_size(pid: u32) -> Option<u64> {
    rolled_up(pid, "Pss:")
}

/// Resident memory of one process in KiB, shared pages counted in full: what it takes when nobody shares with it.
/// None when it has ended, or its memory may not be read.
pub fn resident(pid: u32) -> Option<u64> {
    rolled_up(pid, "Rss:")
}

fn rolled_up(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        let memory = memory_of_tree(std::process::id());
        assert!(memory.values().sum::<u64>() > 100, "{memory:?}");
        assert!(resident(std::process::id()).is_some_and(|kibibytes| kibibytes > 100));
    }
}
