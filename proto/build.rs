//! Makes Rust out of schema/: messages and services (tonic, prost), their JSON (pbjson) and the
//! descriptor set. No protoc: protox reads the schema.

use std::path::PathBuf;

const FILES: [&str; 8] = [
    "proffer/v1/agent.proto",
    "proffer/v1/checkpoint.proto",
    "proffer/v1/executor.proto",
    "proffer/v1/operator.proto",
    "proffer/v1/registry.proto",
    "proffer/v1/scheduler.proto",
    "proffer/v1/state.proto",
    "proffer/v1/template.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=schema/proffer");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["schema"])?;
    // Source information: comments of the schema become documentation of the stubs.
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    let set = compiler.file_descriptor_set();
    let bytes = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("proffer.v1.descriptor.bin"), &bytes)?;
    tonic_prost_build::configure()
        // Maps are ordered: what is sent and shown is the same for the same content.
        .btree_map(".")
        // Programs make their own channels (keep-alive, TLS); the short form would also clash with
        // the rpc `Connect`.
        .build_transport(false)
        .compile_fds(set)?;
    pbjson_build::Builder::new()
        .register_descriptors(&bytes)?
        .btree_map([".proffer.v1"])
        .preserve_proto_field_names()
        .emit_fields()
        .build(&[".proffer.v1"])?;
    Ok(())
}
