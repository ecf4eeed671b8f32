//! proffer-service-core
