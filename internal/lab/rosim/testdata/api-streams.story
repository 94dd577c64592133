-- What goes on until it is cancelled.
@user root=full
< /login =name=wanctl =password=secret
> !done
< /queue/tree/listen =.proplist=.id,name,max-limit .tag=2
@run /queue/tree/set WAN-Upload-ATT max-limit=12M
> !re =.id=*4 =name=WAN-Upload-ATT =max-limit=12000000 .tag=2
@run /queue/tree/set WAN-Upload-ATT max-limit=13M
> !re =.id=*4 =name=WAN-Upload-ATT =max-limit=13000000 .tag=2
@run /queue/tree/add name=new parent=ether3
> !re =.id=*5 =name=new =max-limit=0 .tag=2
@run /queue/tree/remove new
> !re =.id=*5 =.dead=true .tag=2
@run /ip/firewall/mangle/disable [find]
< /cancel =tag=2 .tag=7
> !trap =category=2 =message=interrupted .tag=2
> !done .tag=7
> !done .tag=2
< /cancel =tag=2 .tag=8
> !done .tag=8
< /queue/tree/print =stats= =interval=1 =.proplist=name,bytes,rate ?name=WAN-Upload-ATT .tag=4
> !re =name=WAN-Upload-ATT =bytes=0 =rate=0 .tag=4
@wait 2s
> !re =name=WAN-Upload-ATT =bytes=250000 =rate=2000000 .tag=4
> !re =name=WAN-Upload-ATT =bytes=500000 =rate=2000000 .tag=4
< /interface/monitor-traffic =interface=ether1 =interval=1 .tag=5
@wait 1100ms
> !re =name=ether1 =rx-packets-per-second=12500 =rx-bits-per-second=120000000 =tx-packets-per-second=625 =tx-bits-per-second=6000000 =.section=0 .tag=5
> !re =name=WAN-Upload-ATT =bytes=750000 =rate=2000000 .tag=4
> !re =name=ether1 =rx-packets-per-second=12500 =rx-bits-per-second=120000000 =tx-packets-per-second=625 =tx-bits-per-second=6000000 =.section=1 .tag=5
< /cancel
> !trap =category=2 =message=interrupted .tag=4
> !trap =category=2 =message=interrupted .tag=5
> !done
> !done .tag=4
> !done .tag=5
@wait 5s
< /interface/monitor-traffic =interface=ether1 =once=
@wait 1s
> !re =name=ether1 =rx-packets-per-second=12500 =rx-bits-per-second=120000000 =tx-packets-per-second=625 =tx-bits-per-second=6000000
> !done
< /interface/monitor-traffic =interface=nosuch =once=
> !trap =category=1 =message=input does not match any value of interface
> !done
< /interface/monitor-traffic
> !trap =category=0 =message=missing =interface=
> !done
< /queue/tree/print =interval=10ms
> !trap =category=1 =message=value of interval out of range (00:00:00.200..)
> !done
< /tool/ping =address=192.0.2.1 =count=2
> !re =seq=0 =host=192.0.2.1 =size=56 =ttl=58 =time=12ms =sent=1 =received=1 =packet-loss=0 =min-rtt=12ms =avg-rtt=12ms =max-rtt=12ms
@wait 3s
> !re =seq=1 =host=192.0.2.1 =size=56 =ttl=58 =time=12ms =sent=2 =received=2 =packet-loss=0 =min-rtt=12ms =avg-rtt=12ms =max-rtt=12ms
> !done
< /tool/ping =address=router =count=1
> !trap =category=1 =message=invalid value for argument address
> !done
< /ping =address=192.0.2.1 =count=1
> !re =seq=0 =host=192.0.2.1 =size=56 =ttl=58 =time=12ms =sent=1 =received=1 =packet-loss=0 =min-rtt=12ms =avg-rtt=12ms =max-rtt=12ms
> !done
< /queue/tree/listen =interval=1
> !trap =message=unknown parameter interval
> !done
< /system/resource/listen
> !trap =category=0 =message=no such command
> !done
-- A command that waits for its turn can be cancelled, too.
@fault stall
< /queue/tree/set =.id=*4 =max-limit=1M .tag=a
< /queue/tree/set =.id=*4 =max-limit=2M .tag=b
< /cancel =tag=b .tag=c
> !trap =category=2 =message=interrupted .tag=b
> !done .tag=c
> !done .tag=b
< /cancel =tag=a .tag=d
> !trap =category=2 =message=interrupted .tag=a
> !done .tag=d
> !done .tag=a
@fault unstall
< /queue/tree/get =.id=*4 =value-name=max-limit
> !done =ret=13000000
