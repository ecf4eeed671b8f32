//! Kept bytes of every file and frame, as format 1 wrote them: every later build must read them
//! alike (K5). Never change a sample; a new field gets a new sample beside it.
//!
//! `SAMPLES_WRITE=1` writes those that are missing, and only those.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;

use proffer_supervisor::frame;
use proffer_supervisor::run_dir::{self, Versioned};
use proffer_supervisor::wire::*;
use prost::Message;

fn sample(name: &str, made_now: Vec<u8>) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples").join(name);
    if !path.exists() && std::env::var_os("SAMPLES_WRITE").is_some() {
        std::fs::write(&path, made_now).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn is_kept<M: Versioned + PartialEq + std::fmt::Debug>(name: &str, expected: &M) {
    let bytes = sample(name, expected.encode_to_vec());
    assert_eq!(&run_dir::decode::<M>(&bytes).unwrap(), expected, "{name}");
}

#[test]
fn the_launch_spec_of_format_1_is_read() {
    is_kept(
        "launch_spec.v1.bin",
        &LaunchSpec {
            format_version: 1,
            container_id: "f1-web-0-1".to_owned(),
            boot_id: "6f1cbd0e-8a1b-4d6b-9f5e-000000000001".to_owned(),
            argv: vec![b"sh".to_vec(), b"-c".to_vec(), b"exit 0".to_vec()],
            env: vec![b"PATH=/bin".to_vec()],
            user: Some(User { uid: 1000, gid: 1001, supplementary_gids: vec![5, 6] }),
            sandbox: b"/var/lib/proffer/s".to_vec(),
            root_dir: b"/roots/debian".to_vec(),
            working_dir: b"/sandbox".to_vec(),
            hostname: "web-0".to_owned(),
            rlimits: vec![Rlimit { resource: 7, soft: 1024, hard: u64::MAX }],
            isolate: true,
            set_user: true,
            capabilities: vec![0, 5, 10],
            masked_paths: vec![b"/proc/kcore".to_vec()],
            readonly_paths: vec![b"/proc/sys".to_vec()],
            container_cgroup: Some(CgroupJoin {
                v1_tasks_files: vec![b"/sys/fs/cgroup/cpu/proffer/a/pods/p/c/tasks".to_vec()],
                v2_dir: b"/sys/fs/cgroup/unified/proffer/a/pods/p/c".to_vec(),
                v1_freezer_dir: b"/sys/fs/cgroup/freezer/proffer/a/pods/p/c".to_vec(),
            }),
            supervisor_cgroup: Some(CgroupJoin::default()),
            log: Some(LogLimits { bytes_per_file_max: 10 << 20, files_max: 2 }),
            kill_policy: Some(KillPolicy { signal: 15, grace_ns: 10_000_000_000 }),
            stop_after_ns: 60_000_000_000,
            go_timeout_ns: 30_000_000_000,
            sandbox_in_root: b"/sandbox".to_vec(),
            binds: Vec::new(),
        },
    );
    let bind = Bind { source: b"/var/lib/proffer/volumes/v7".to_vec(), target: b"data".to_vec() };
    is_kept(
        "launch_spec_binds.v1.bin",
        &LaunchSpec {
            format_version: 1,
            container_id: "f1-db-0-1".to_owned(),
            binds: vec![bind],
            ..LaunchSpec::default()
        },
    );
}

#[test]
fn the_records_of_format_1_are_read() {
    let boot_id = "6f1cbd0e-8a1b-4d6b-9f5e-000000000001".to_owned();
    is_kept(
        "started.v1.bin",
        &StartedRecord {
            format_version: 1,
            boot_id: boot_id.clone(),
            pid: 4711,
            started_boottime_ns: 123_456_789,
        },
    );
    let outcomes = [
        ("exit_code.v1.bin", ExitOutcome::Code(3)),
        ("exit_signal.v1.bin", ExitOutcome::Signal(9)),
        (
            "exit_launch_failure.v1.bin",
            ExitOutcome::LaunchFailure(LaunchFailure {
                step: "execute the program".to_owned(),
                errno: 2,
            }),
        ),
    ];
    for (name, outcome) in outcomes {
        is_kept(
            name,
            &ExitRecord {
                format_version: 1,
                outcome: Some(outcome),
                cause: StopCause::GrantExpired as i32,
                forced: true,
                started_boottime_ns: 1,
                exited_boottime_ns: 2,
                log_bytes_dropped: 3,
                boot_id: boot_id.clone(),
            },
        );
    }
}

#[test]
fn the_frames_of_format_1_are_read() {
    let bodies = [
        Body::Hello(Hello { watch: true }),
        Body::Go(Go {}),
        Body::Signal(Signal { signal: 10 }),
        Body::Kill(Kill { policy: Some(KillPolicy { signal: 2, grace_ns: 5 }) }),
        Body::Grant(Grant { granted_boottime_ns: 6 }),
        Body::Exec(Exec {
            argv: vec![b"true".to_vec()],
            env: vec![b"A=1".to_vec()],
            timeout_ns: 7,
            output_bytes_max: 8,
        }),
        Body::Status(Status {
            container_id: "c".to_owned(),
            phase: Phase::Running as i32,
            supervisor_pid: 9,
            pid: 10,
            started_boottime_ns: 11,
            exit: None,
            failure: Some(LaunchFailure { step: "s".to_owned(), errno: 12 }),
            supervisor_version: "0.1.0".to_owned(),
        }),
        Body::Done(Done {}),
        Body::Refused(Refused { code: "busy".to_owned(), message: "m".to_owned() }),
        Body::ExecResult(ExecResult {
            outcome: Some(ExecOutcome::TimedOut(true)),
            output: b"out".to_vec(),
            truncated: true,
        }),
    ];
    let mut made_now = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        frame::encode(number as u64 + 1, body.clone(), &mut made_now);
    }
    let mut bytes = sample("frames.v1.bin", made_now);
    for (number, expected) in bodies.iter().enumerate() {
        let frame = frame::take(&mut bytes).unwrap().unwrap();
        assert_eq!((frame.request_id, frame.format_version), (number as u64 + 1, 1));
        assert_eq!(frame.body.as_ref(), Some(expected));
    }
    assert!(bytes.is_empty());
}

/// An older program meets a file of a later format: it says so instead of guessing.
#[test]
fn a_newer_file_is_refused_in_words_and_nothing_panics_on_garbage() {
    let newer = StartedRecord { format_version: 2, ..Default::default() }.encode_to_vec();
    let error = run_dir::decode::<StartedRecord>(&newer).unwrap_err();
    assert!(error.to_string().contains("newer"), "{error}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples/launch_spec.v1.bin");
    let bytes = std::fs::read(path).unwrap();
    assert!(!bytes.is_empty());
    for cut in 0..bytes.len() {
        let _ = run_dir::decode::<LaunchSpec>(&bytes[..cut]);
        let mut flipped = bytes.clone();
        flipped[cut] ^= 0xff;
        let _ = run_dir::decode::<LaunchSpec>(&flipped);
    }
    assert!(run_dir::decode::<ExitRecord>(b"").is_err(), "an empty file is no record");
}
