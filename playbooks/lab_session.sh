# Sourced by scripts that use the emulated boards, in bash. `play` runs a playbook on them, `finish` stops them, which
# also happens if the script fails or gets Ctrl-C, unless KEEP_LAB is set. sudo's password is asked for once.
set -euo pipefail

secret= # file with sudo's password, if sudo asks for one
if [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then
  read -rsp 'Password for sudo, which builds the emulated boards: ' password ||
    { echo 'sudo wants a password, and there is no terminal to ask for it: run this as root.' >&2; exit 1; }
  echo
  secret=$(mktemp) # nobody else can read it
  trap 'rm -f "$secret"' EXIT
  printf '%s\n' "$password" >"$secret"
  unset password
  sudo -kS -p '' true <"$secret" # prints the error and ends the script
  export ANSIBLE_BECOME_PASSWORD_FILE=$secret ANSIBLE_BECOME_ASK_PASS=false # else the user's configuration may ask again
fi

play() { .venv/bin/ansible-playbook -i inventory/lab "$@"; }

finish() {
  local code=0
  trap - EXIT
  if [ -n "${KEEP_LAB:-}" ]; then
    echo "The emulated boards are left up; 'make lab-down' ends them."
  else
    play playbooks/lab_down.yml || code=$?
  fi
  [ -z "$secret" ] || rm -f "$secret"
  return "$code"
}
trap finish EXIT
