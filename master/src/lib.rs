//! proffer-master
