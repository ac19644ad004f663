//! Limits of this machine that clusters of kind run into.

use std::path::Path;

/// Watches and instances of inotify that three nodes need, as kind's own documentation gives them.
const INOTIFY: [(&str, u64); 2] = [("max_user_watches", 524_288), ("max_user_instances", 512)];
/// Memory for three nodes and the stack on them, in KiB.
const MEMORY: u64 = 6 * 1024 * 1024;

/// What is too low, each with what raises it; empty when all is well. `proc` and `cgroups` are `/proc` and
/// `/sys/fs/cgroup`.
pub fn too_low(proc: &Path, cgroups: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let number = |path: &str| std::fs::read_to_string(proc.join(path)).ok()?.trim().parse::<u64>().ok();
    for (name, needed) in INOTIFY {
        if let Some(value) = number(&format!("sys/fs/inotify/{name}")).filter(|value| *value < needed) {
            found.push(format!(
                "fs.inotify.{name} is {value}: several nodes may fail; `sudo sysctl fs.inotify.{name}={needed}`"
            ));
        }
    }
    let memory = std::fs::read_to_string(proc.join("meminfo")).unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    if let Some(total) = total.filter(|total| *total < MEMORY) {
        let (has, needed) = (total / 1024, MEMORY / 1024);
        found.push(format!("{has} MiB of memory: three nodes need {needed} MiB; `--nodes 1` needs less"));
    }
    if !cgroups.join("cgroup.controllers").exists() {
        found.push("cgroup v1: nodes of newer Kubernetes versions do not start; boot with systemd.unified_cgroup_hierarchy=1".into());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_that_is_too_low_is_named_with_what_raises_it() {
        let root = tempfile::tempdir().unwrap();
        let (proc, cgroups) = (root.path().join("proc"), root.path().join("cgroup"));
        std::fs::create_dir_all(proc.join("sys/fs/inotify")).unwrap();
        std::fs::create_dir(&cgroups).unwrap();
        let write = |path: &str, text: &str| std::fs::write(root.path().join(path), text).unwrap();
        write("proc/sys/fs/inotify/max_user_watches", "524288\n");
        write("proc/sys/fs/inotify/max_user_instances", "128\n");
        write("proc/meminfo", "MemTotal:        2097152 kB\nMemFree: 1 kB\n");
        let found = too_low(&proc, &cgroups);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("sudo sysctl fs.inotify.max_user_instances=512"), "{found:?}");
        assert!(found[1].contains("2048 MiB") && found[2].contains("cgroup v1"), "{found:?}");
        write("proc/sys/fs/inotify/max_user_instances", "512\n");
        write("proc/meminfo", "MemTotal:        8388608 kB\n");
        write("cgroup/cgroup.controllers", "cpu memory\n");
        assert_eq!(too_low(&proc, &cgroups), Vec::<String>::new());
    }
}
