//! proffer-proto
