//! proffer-sdk
