/interface bridge
add name=bridge
/interface list
add comment=defconf name=WAN
/interface list member
add comment=defconf interface=ether1 list=WAN
/ip address
add address=192.168.88.1/24 comment=defconf interface=bridge network=192.168.88.0
add address=10.10.110.2/24 interface=ether1
add address=10.10.111.2/24 interface=ether2
/ip firewall filter
add action=accept chain=input comment="defconf: accept established,related,untracked" connection-state=established,related,untracked
add action=fasttrack-connection chain=forward comment="defconf: fasttrack" connection-state=established,related
add action=accept chain=forward comment="defconf: accept established,related, untracked" connection-state=established,related,untracked
/ip firewall nat
add action=masquerade chain=srcnat comment="defconf: masquerade" out-interface-list=WAN
/ip route
add dst-address=0.0.0.0/0 gateway=10.10.110.1%ether1
add dst-address=0.0.0.0/0 distance=2 gateway=10.10.111.1%ether2
/user
set admin password=boss
