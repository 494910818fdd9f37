//! Which images run when a Pipeline does not say so: the one place that names them.
//!
//! To move to a newer version, change it here; the README names this file.

/// The data server.
pub const REDIS: &str = "docker.io/library/redis:7.0";
/// The metrics exporter beside a data server.
pub const EXPORTER: &str = "docker.io/oliver006/redis_exporter:v1.45.0";
/// The image that holds `/pipeline-operator`, `/duke` and `/duke-agent`.
pub const OPERATOR: &str = "docker.io/pipelineoperator/pipelineoperator:0.1.0";
/// The Dukes and the agents beside data servers; the operator's environment variable [`DUKE_VARIABLE`] overrides it.
pub const DUKE: &str = OPERATOR;
/// Names the image of Dukes and agents to use instead of [`DUKE`], for mirrors and own builds.
pub const DUKE_VARIABLE: &str = "DUKE_IMAGE";

/// The program that an image's data server is started with.
///
/// Judged by the last path component of the image's name, so that a registry or an organisation
/// called `valkey` says nothing about what is in the image.
#[must_use]
pub fn server_program(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains("valkey") {
        "valkey-server"
    } else {
        "redis-server"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_follows_the_last_path_component() {
        assert_eq!(server_program(REDIS), "redis-server");
        assert_eq!(
            server_program("docker.io/valkey/valkey:8.1"),
            "valkey-server"
        );
        assert_eq!(server_program("valkey"), "valkey-server");
        assert_eq!(
            server_program("valkey.example.com:5000/team/redis:7"),
            "redis-server"
        );
        assert_eq!(
            server_program("mirror/bitnami-valkey@sha256:00"),
            "valkey-server"
        );
    }
}
