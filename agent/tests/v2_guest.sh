#!/bin/bash
# Runs the containerizer suite in a small guest with a complete cgroup v2 (and an older kernel).
#   agent/tests/v2_guest.sh DIR     DIR keeps the unpacked kernel between runs
# Needs: qemu-system-x86 seabios busybox-static cpio kmod python3, and apt for the kernel package.
# The guest sees this machine's files read-only with a layer in memory above; boots in seconds (TCG).
set -euo pipefail
dir=${1:?usage: v2_guest.sh DIR}
mkdir -p "$dir"; cd "$(dirname "$0")/../.."
suite=$(cargo test -q -p proffer-agent --test containerizer --no-run --message-format=json |
  python3 -c 'import json,sys
for line in sys.stdin:
    m = json.loads(line)
    if m.get("executable") and m["target"]["name"] == "containerizer": print(m["executable"])')
cd "$dir"
if [ ! -e init.gz ]; then
  package=${KERNEL_PACKAGE:-$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-6/{print $2}')}
  apt-get download -qq "$package"
  rm -rf kernel; mkdir kernel; dpkg-deb -x linux-image-*.deb kernel
  version=$(basename kernel/boot/vmlinuz-* | sed 's/vmlinuz-//'); depmod -b kernel "$version"
  # The unpacked image boots twice as fast under emulation.
  python3 - <<'P'
import glob, lzma, subprocess
image = open(glob.glob('kernel/boot/vmlinuz-*')[0], 'rb').read()
xz, zstd = image.find(b'\xfd7zXZ\0'), image.find(b'\x28\xb5\x2f\xfd')
plain = lzma.LZMADecompressor().decompress(image[xz:]) if xz > 0 else \
    subprocess.run(['zstd', '-dcq'], input=image[zstd:], capture_output=True).stdout
open('vmlinux', 'wb').write(plain)
P
  rm -rf root; mkdir -p root/{bin,proc,sys,dev,mod,ro,rw,new}; cp /bin/busybox root/bin/
  for module in virtio_pci 9pnet_virtio 9p overlay; do
    modprobe -d kernel -S "$version" --show-depends $module 2>/dev/null | awk '/^insmod/{print $2}'
  done | awk '!seen[$0]++' | while read -r file; do
    cp "$file" root/mod/; basename "$file" >> root/mod/order
  done
  cat > root/init <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin; export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in $(cat /mod/order); do insmod /mod/$m; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 host /ro
mount -t tmpfs -o size=80% t /rw; mkdir /rw/u /rw/w
mount -t overlay -o lowerdir=/ro,upperdir=/rw/u,workdir=/rw/w o /new
for d in proc sys dev; do mount --move /$d /new/$d; done
mount -t cgroup2 none /new/sys/fs/cgroup; mount -t tmpfs t /new/run; mount -t tmpfs t /new/tmp
command=$(sed -n 's/.*run="\([^"]*\)".*/\1/p' /new/proc/cmdline)
chroot /new /bin/sh -c "export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root; ip link set lo up; $command"
echo "GUEST-RC=$?"
poweroff -f
I
  chmod +x root/init; (cd root && find . | cpio -o -H newc --quiet | gzip -1) > init.gz
fi
# Outside /tmp, which the guest covers.
cp "$suite" "$dir/suite"
timeout "${TIMEOUT:-300}" qemu-system-x86_64 -M q35,accel=tcg -cpu max -m 2048 -nographic -no-reboot \
  -kernel vmlinux -initrd init.gz -net none \
  -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
  -append "console=ttyS0 panic=-1 quiet run=\"RUST_BACKTRACE=0 $(realpath "$dir")/suite --test-threads 2 --color never 2>&1\"" \
  | tee log
grep -q '^GUEST-RC=0' log
