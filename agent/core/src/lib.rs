//! proffer-agent-core
