# Installs the packages that are its arguments, and starts none of their services: docker-registry's would
# otherwise run from then on. Debian asks policy-rc.d before it starts a service; 101 means no.
policy=/usr/sbin/policy-rc.d
restore() {
    rm -f "$policy"
    if [ -e "$policy.before-xtask" ]; then mv "$policy.before-xtask" "$policy"; fi
}
# If an earlier run was killed, what is to be restored is there already.
if [ -e "$policy" ] && [ ! -e "$policy.before-xtask" ]; then mv "$policy" "$policy.before-xtask"; fi
trap restore EXIT
trap 'exit 130' INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
# A source that has nothing to do with these packages may fail; whether they can be had is seen next.
apt-get -qq update || echo "apt-get update failed; going on with the package lists that are here" >&2
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
