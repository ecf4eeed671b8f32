//! Owns the steps of a launch that can fail, with the words in which a failure is reported.

macro_rules! steps {
    ($($number:literal $name:ident $words:literal,)*) => {
        /// One step of a launch. The number travels from a launched child to its supervisor; only
        /// the words leave the supervisor.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Step { $(#[doc = $words] $name = $number,)* }

        impl Step {
            /// The words for it, as in "failed to WORDS".
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }

            /// The step of this number.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

steps! {
    1 ReadSpec "read the launch spec",
    2 OpenLog "open the log files",
    3 EnterSupervisorCgroup "enter the supervisors' control group",
    4 OpenCgroup "open the container's control group",
    5 CreateProcess "create the container's first process",
    6 JoinCgroup "join the container's control group",
    7 PrivateMounts "make mounts private",
    8 OpenSandbox "open the sandbox",
    9 ChangeRoot "change the root directory",
    10 MountProc "mount /proc",
    11 MountDev "mount /dev",
    12 MakeDevice "make a device node",
    13 MountPts "mount /dev/pts",
    14 MountShm "mount /dev/shm",
    15 MountSys "make /sys read-only",
    16 MountSandbox "mount the sandbox",
    17 MaskPath "mask a kernel path",
    18 ReadonlyPath "make a kernel path read-only",
    19 SetHostname "set the host name",
    20 DropInitPrivileges "drop the privileges of the container's init",
    21 MarkStarted "mark the container as started",
    22 EnterNamespaces "enter the container's namespaces",
    23 NewSession "begin a session",
    24 ConnectStreams "connect standard streams",
    25 SetRlimit "set a resource limit",
    26 ResetSignals "reset signals",
    27 DropCapabilities "drop capabilities",
    28 SetUser "switch to the user",
    29 ChangeDir "enter the working directory",
    30 NoNewPrivileges "forbid new privileges",
    31 CloseDescriptors "close inherited descriptors",
    32 Execute "execute the program",
    33 LostInit "keep the container's init alive",
    34 ResetOomScore "take the agent's protection from want of memory away from the task",
    35 OpenVolume "open a volume",
    36 MountVolume "mount a volume",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_leads_back_to_its_step() {
        for number in 1..=36 {
            let step = Step::from_number(number).unwrap();
            assert_eq!(step as u32, number);
            assert!(!step.words().is_empty());
        }
        assert_eq!(Step::from_number(0), None);
        assert_eq!(Step::from_number(37), None);
    }
}
