//! Owns what `execve` needs, prepared before the process is cloned: paths, arguments, environment.

use std::ffi::CString;
use std::io;

use crate::sys::PointerArray;

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program ready to be executed.
pub(crate) struct Image {
    candidates: Vec<CString>,
    argv: PointerArray,
    envp: PointerArray,
}

impl Image {
    /// Prepares `argv` with `env`; entries of `extra_env` replace those of the same name.
    pub(crate) fn new(
        argv: &[Vec<u8>],
        env: &[Vec<u8>],
        extra_env: &[Vec<u8>],
    ) -> io::Result<Self> {
        let env = merged(env, extra_env);
        let program = argv.first().ok_or(io::ErrorKind::InvalidInput)?;
        let path = env.iter().find_map(|e| e.strip_prefix(b"PATH=".as_slice()));
        let candidates = candidates(program, path.unwrap_or(DEFAULT_PATH));
        Ok(Self {
            candidates: strings(&candidates)?,
            argv: PointerArray::new(strings(argv)?),
            envp: PointerArray::new(strings(&env)?),
        })
    }

    /// Executes the first candidate that can be; returns the error that says most.
    pub(crate) fn execute(&self) -> io::Error {
        let mut verdict = io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.candidates {
            let error = crate::sys::execve(candidate, &self.argv, &self.envp);
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                // As a shell does: a later directory may hold one that can be executed.
                Some(libc::EACCES) => verdict = error,
                _ => return error,
            }
        }
        verdict
    }
}

fn candidates(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let directories = path.split(|b| *b == b':').filter(|d| d.starts_with(b"/"));
    directories.map(|d| [d, b"/", program].concat()).collect()
}

fn merged(env: &[Vec<u8>], extra: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let name = |e: &[u8]| e.split(|b| *b == b'=').next().unwrap_or_default().to_vec();
    let replaced = |e: &[u8]| extra.iter().any(|x| name(x) == name(e));
    env.iter().filter(|e| !replaced(e)).chain(extra).cloned().collect()
}

fn strings(bytes: &[Vec<u8>]) -> io::Result<Vec<CString>> {
    bytes.iter().map(|b| CString::new(b.as_slice()).map_err(io::Error::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_in_absolute_directories_only() {
        let found = candidates(b"sh", b"/a:.:relative::/b");
        assert_eq!(found, [b"/a/sh".to_vec(), b"/b/sh".to_vec()]);
        assert_eq!(candidates(b"./sh", b"/a"), [b"./sh".to_vec()]);
    }

    #[test]
    fn extra_environment_replaces_by_name() {
        let env = [b"A=1".to_vec(), b"AB=2".to_vec()];
        assert_eq!(merged(&env, &[b"A=3".to_vec()]), [b"AB=2".to_vec(), b"A=3".to_vec()]);
    }
}
