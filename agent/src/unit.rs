//! Looks at the systemd unit that this process runs in, if any: a unit that kills its whole control
//! group when the agent ends would take the tasks along (K14).

use std::time::Duration;
use tokio::process::Command;

/// Longest wait for systemd's answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What should be changed about the unit, in words for the operator.
pub(crate) async fn advice() -> Vec<String> {
    // systemd sets it for every unit that it starts.
    if std::env::var_os("INVOCATION_ID").is_none() {
        return Vec::new();
    }
    let Some(unit) =
        std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| unit_of(&text))
    else {
        return Vec::new();
    };
    let shown = Command::new("systemctl")
        .args(["show", "--property=KillMode,Delegate", &unit])
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(ANSWER_MAX, shown).await {
        Ok(Ok(output)) => advice_on(&unit, &String::from_utf8_lossy(&output.stdout)),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// The service in the text of `/proc/self/cgroup`.
fn unit_of(groups: &str) -> Option<String> {
    let mut names = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    names.find_map(|path| {
        let unit = path.split('/').find(|name| name.ends_with(".service"))?;
        Some(unit.to_owned())
    })
}

fn advice_on(unit: &str, properties: &str) -> Vec<String> {
    let value =
        |name: &str| properties.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
    let mut advice = Vec::new();
    if let Some(mode) = value("KillMode").filter(|mode| !matches!(*mode, "process" | "none")) {
        advice.push(format!(
            "unit {unit} has KillMode={mode}: stopping the agent would kill its tasks; \
             set KillMode=process"
        ));
    }
    if value("Delegate") == Some("no") {
        advice.push(format!(
            "unit {unit} has Delegate=no: systemd may move or remove the tasks' control groups; \
             set Delegate=yes"
        ));
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k14_a_unit_that_would_take_the_tasks_along_is_named() {
        let groups = "3:cpu:/system.slice/proffer-agent.service\n0::/\n";
        assert_eq!(unit_of(groups).as_deref(), Some("proffer-agent.service"));
        assert_eq!(unit_of("0::/user.slice/session-1.scope\n"), None);
        let advice = advice_on("x.service", "KillMode=control-group\nDelegate=no\n");
        assert_eq!(advice.len(), 2);
        assert!(advice[0].contains("KillMode=process"));
        assert_eq!(advice_on("x.service", "KillMode=process\nDelegate=yes\n"), [""; 0]);
    }
}
