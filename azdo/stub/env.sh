#!/bin/sh
# Writes .path and .env, which the listener loads at its start. Sourced by config.sh; may be run again by hand.
stub_save() {
    eval "stub_value=\${$1:-}"
    if [ -n "$stub_value" ] && ! grep -q "^$1=" .env; then
        echo "$1=$stub_value" >>.env
    fi
    unset stub_value
}

[ -e .env ] || : >.env
for stub_name in LANG JAVA_HOME ANT_HOME M2_HOME GRADLE_HOME ANDROID_HOME NVM_BIN NVM_PATH VCPKG_INSTALLATION_ROOT; do
    stub_save "$stub_name"
done
unset stub_name
echo "$PATH" >.path
