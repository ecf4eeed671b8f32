//! proffer-master-core
