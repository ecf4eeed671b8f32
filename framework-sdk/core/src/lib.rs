//! proffer-sdk-core
