# shellcheck shell=bash
# Sourced by tests/run.sh and examples/run.sh.

# install_packages PACKAGE...: installs those that are missing on Debian and Ubuntu. Where it cannot, it says
# what is needed and goes on: the machine may have it from elsewhere, and CMake names what it lacks.
install_packages() {
  local package sudo="" missing=()
  if ! command -v apt-get >/dev/null; then
    echo "No apt-get here. Needed, by their Debian names: $*. Going on with what is installed."
    return
  fi
  for package; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || sudo="sudo "
  local install="${sudo}apt-get update && ${sudo}env DEBIAN_FRONTEND=noninteractive apt-get install -y ${missing[*]}"
  echo "+ $install"
  eval "$install" || echo "That did not work. Needed: ${missing[*]}. Going on with what is installed."
}
