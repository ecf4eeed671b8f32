//! proffer-allocator
