//! A wall clock that steps: bans keep their time.

use std::fs;
use std::time::Duration;

use crate::namespace::in_namespace;
use crate::program::{Lab, sh, wait_for};

/// Preloaded: from the second `STEP_AT` of the monotonic clock on, the wall clock is wrong by `STEP_BY` seconds.
const STEPPING_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    struct timespec now;
    int ret = syscall(SYS_clock_gettime, clock, time);

    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    if (ret == 0 && clock == CLOCK_REALTIME && now.tv_sec >= atol(getenv("STEP_AT")))
        time->tv_sec += atol(getenv("STEP_BY"));
    return ret;
}
"#;

pub(crate) fn monotonic() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` has room for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn check(step_by: i64) {
    in_namespace(move || {
        let mut lab = Lab::new("nftables");
        lab.preload(STEPPING_CLOCK);
        let step_at = monotonic().as_secs() + 4;
        lab.variables
            .extend([("STEP_AT", step_at.to_string()), ("STEP_BY", step_by.to_string())]);
        let both_are_in_force = |lab: &Lab| {
            let left: Vec<_> = lab
                .bans()
                .iter()
                .map(|ban| ban["remaining_seconds"].as_u64().unwrap())
                .collect();
            assert_eq!(left.len(), 2, "{step_by}");
            assert!(
                left.iter().all(|left| (7_100..=7_200).contains(left)),
                "{step_by}: {left:?}"
            );
        };
        let daemon = lab.start(&[]);
        lab.say(&["ban", "198.51.100.1", "--for", "2h"]);
        let since = |number: usize| lab.bans()[number]["since"].as_str().unwrap().to_owned();
        let before = since(0);
        wait_for("the clock steps", || monotonic().as_secs() > step_at);
        lab.say(&["ban", "198.51.100.2", "--for", "2h"]);
        // The program itself saw the step.
        assert_eq!(since(1) > before, step_by > 0, "{before} {}", since(1));
        both_are_in_force(&lab);
        let is_written =
            || fs::read_to_string(lab.state_file()).is_ok_and(|text| text.contains("198.51.100.2"));
        wait_for("both are written", is_written);
        // Nothing but the file, which has times of the wall clock, knows of them.
        daemon.kill();
        sh("nft flush ruleset");
        let _daemon = lab.start(&[]);
        both_are_in_force(&lab);
    });
}

#[test]
fn a_step_forth_ends_no_ban() {
    check(86_400);
}

#[test]
fn a_step_back_prolongs_no_ban() {
    check(-86_400);
}
