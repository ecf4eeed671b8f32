//! proffer-tests
