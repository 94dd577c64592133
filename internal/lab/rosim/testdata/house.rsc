# 2026-11-20 18:04:11 by RouterOS 7.22.3
# software id = ABCD-EFGH
#
# model = RB5009UG+S+
# serial number = 0123456789AB

/interface bridge
add admin-mac=02:00:5E:10:00:01 auto-mac=no comment=defconf name=lan
/interface ethernet
set [ find default-name=ether1 ] comment="cable, 250/25" name=wan1
set [ find default-name=ether2 ] name=wan2
/ip dhcp-server
add address-pool=default-dhcp interface=lan name=defconf
/interface bridge port
add bridge=lan interface=ether3
/interface list
add name=WAN
add name=LAN
/queue type
add cake-diffserv=diffserv4 cake-flowmode=dual-dsthost kind=cake name=cake-down
add cake-diffserv=diffserv4 cake-flowmode=dual-srchost cake-nat=yes cake-rtt=\
    50ms kind=cake name=cake-up
/queue tree
add bucket-size=0.01 comment="kept by the controller; do not \"tune\"" \
    max-limit=240M name="WAN Download" packet-mark=dl parent=lan queue=\
    cake-down
add bucket-size=0.01 max-limit=24M name="WAN Upload" packet-mark=no-mark \
    parent=wan1 queue=cake-up
/queue simple
add max-limit=5M/20M name=guests target=192.168.99.0/24
/routing table
add disabled=no fib name=via-wan2
/interface list member
add interface=wan1 list=WAN
add interface=wan2 list=WAN
add interface=lan list=LAN
/ip address
add address=192.168.88.1/24 comment=defconf interface=lan network=192.168.88.0
/ip firewall address-list
add address=203.0.113.0/24 list=calls
/ip firewall filter
add action=fasttrack-connection chain=forward connection-mark=no-mark \
    connection-state=established,related
add action=accept chain=input connection-state=\
    established,related,untracked
add action=drop chain=input in-interface-list=!LAN
/ip firewall mangle
add action=mark-connection chain=prerouting comment="STEER: calls" \
    connection-mark=no-mark connection-state=new disabled=yes \
    dst-address-type=!local dst-port=3478-3481 in-interface=lan \
    new-connection-mark=c-wan2 protocol=udp
add action=mark-routing chain=prerouting connection-mark=c-wan2 \
    in-interface=lan new-routing-mark=via-wan2 passthrough=no
add action=mark-packet chain=forward in-interface=wan1 new-packet-mark=dl \
    passthrough=no
/ip firewall nat
add action=masquerade chain=srcnat out-interface-list=WAN
/ip route
add check-gateway=ping disabled=no distance=1 dst-address=0.0.0.0/0 gateway=\
    198.51.100.1 routing-table=main
add dst-address=0.0.0.0/0 gateway=203.0.113.1 routing-table=via-wan2
/ip service
set telnet disabled=yes
set www disabled=yes
set api address=192.168.88.5/32
/ip settings
set rp-filter=loose
/system clock
set time-zone-name=Europe/Vienna
/system identity
set name=house
/system script
add dont-require-permissions=no name=hello owner=admin policy=read,write \
    source=":log info \"hi \$x\"\r\n"
/tool netwatch
add disabled=no host=192.0.2.53 interval=30s type=icmp
