#!/bin/sh
# The earlier system's single command. Flags are those of "wanctl deploy"; WANCTL_INVENTORY names another inventory.
exec wanctl deploy "${WANCTL_INVENTORY:-$(dirname "$0")/../configs/deploy/inventory.yaml}" "$@"
