# A house with one cable line whose simple queue does what it should: the line's queue in front, the house as its
# target and the line as its dst, a child for one host, and FastTrack kept away from the line.
/queue type
add cake-ack-filter=none cake-atm=none cake-diffserv=diffserv3 cake-flowmode=\
    dual-srchost cake-mpu=64 cake-nat=yes cake-overhead=18 kind=cake name=\
    wanctl-Cable-upload
add cake-atm=none cake-diffserv=diffserv3 cake-flowmode=dual-dsthost \
    cake-mpu=64 cake-nat=no cake-overhead=18 cake-wash=yes kind=cake name=\
    wanctl-Cable-download
/queue simple
add bucket-size=0.01/0.01 comment="my line" dst=ether1 max-limit=35M/450M \
    name=WAN-Cable queue=wanctl-Cable-upload/wanctl-Cable-download target=\
    bridge
add max-limit=2M/10M name=kids parent=WAN-Cable target=192.168.88.7/32
/ip firewall filter
add action=accept chain=forward comment="wanctl: no FastTrack in by Cable" \
    connection-state=established,related in-interface=ether1
add action=accept chain=forward comment="wanctl: no FastTrack out by Cable" \
    connection-state=established,related out-interface=ether1
add action=fasttrack-connection chain=forward connection-state=\
    established,related
