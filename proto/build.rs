//! Makes Rust out of schema/: messages and services (tonic, prost), their JSON (pbjson) and the
//! descriptor set. No protoc: protox reads the schema.

use std::path::PathBuf;

const FILES: [&str; 6] = [
    "proffer/v1/agent.proto",
    "proffer/v1/executor.proto",
    "proffer/v1/operator.proto",
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
    // Messages know their names: the codec looks them up in the schema.
    let mut names = prost_build::Config::new();
    names.enable_type_names();
    tonic_prost_build::configure()
        // Maps are ordered: what is sent and shown is the same for the same content.
        .btree_map(".")
        // Programs make their own channels (keep-alive, TLS); the short form would also clash with
        // the rpc `Connect`.
        .build_transport(false)
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds_with_config(set, names)?;
    json(&out, &bytes)?;
    Ok(())
}

/// JSON in the style of `/v1`: names as in the schema; every field is written, also when it is zero
/// or empty, so that a reader need not know defaults. Resources stand everywhere and in numbers:
/// they leave out the marks that they do not carry.
fn json(out: &std::path::Path, descriptors: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    const SPARSE: [&str; 2] = [".proffer.v1.Resource", ".proffer.v1.Reservation"];
    let builder = || {
        let mut builder = pbjson_build::Builder::new();
        builder.btree_map([".proffer.v1"]).preserve_proto_field_names();
        builder
    };
    let sparse = out.join("sparse");
    std::fs::create_dir_all(&sparse)?;
    builder().register_descriptors(descriptors)?.out_dir(sparse).build(&SPARSE)?;
    builder()
        .register_descriptors(descriptors)?
        .exclude(SPARSE)
        .emit_fields()
        .build(&[".proffer.v1"])?;
    Ok(())
}
