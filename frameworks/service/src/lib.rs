//! proffer-service
