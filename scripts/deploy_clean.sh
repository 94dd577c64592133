#!/bin/sh
# The earlier system's single command: the same as "wanctl deploy", by default with the inventory of the shipped site.
exec wanctl deploy "${@:-$(dirname "$0")/../configs/deploy/inventory.yaml}"
