# The same house as a guide left it: bursts, a queue type that is no CAKE, limits that hold for both directions together, a
# queue in front that takes everything, another under the line's interface, and FastTrack.
/queue type
add cake-bandwidth=30M kind=cake name=cake
/queue simple
add name=everything target=0.0.0.0/0
add burst-limit=60M/600M burst-threshold=20M/200M burst-time=8s/8s dst=ether1 \
    max-limit=35M/450M name=WAN-Cable packet-marks=no-mark queue=\
    default-small/cake target=bridge total-max-limit=400M
/queue tree
add name=old packet-mark=no-mark parent=ether1
/ip firewall filter
add action=fasttrack-connection chain=forward connection-state=\
    established,related
