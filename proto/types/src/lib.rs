//! proffer-types
