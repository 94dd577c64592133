-- The binary API: login, the documented answers, what 7.18 and later say of nothing.
@version 7.22.3
@user root=full
< /queue/tree/print
> !fatal not logged in
> (closed)
< /login =name=wanctl =password=wrong
> !trap =message=invalid user name or password (6)
> !done
< /login =name=wanctl =password=secret
> !done
< /login =name=wanctl =password=secret .tag=1
> !done .tag=1
< /queue/tree/print =.proplist=.id,name,max-limit,disabled,bytes,queued-bytes ?name=WAN-Upload-ATT
> !re =.id=*4 =name=WAN-Upload-ATT =max-limit=18000000 =disabled=false =bytes=0 =queued-bytes=0
> !done
< /queue/tree/print ?name=WAN-Upload-ATT
> !re =.id=*4 =name=WAN-Upload-ATT =parent=ether2 =packet-mark=no-mark =limit-at=0 =queue=cake-upload =priority=8 =max-limit=18000000 =burst-limit=0 =burst-threshold=0 =burst-time=0s =bucket-size=0.1 =disabled=false =invalid=false =rate=0 =packet-rate=0 =queued-bytes=0 =queued-packets=0 =bytes=0 =packets=0 =dropped=0
> !done
< /queue/tree/print ?name=nobody .tag=x
> !empty .tag=x
> !done .tag=x
< /queue/tree/set =.id=*4 =max-limit=17M
> !empty
> !done
< /queue/tree/set =numbers=WAN-Upload-ATT =max-limit=16500000 .tag=set
> !empty .tag=set
> !done .tag=set
< /queue/tree/get =.id=*4 =value-name=max-limit
> !done =ret=16500000
< /queue/tree/get =.id=*4 =value-name=bucket-size
> !done =ret=0.1
< /queue/tree/print =count-only=
> !done =ret=4
< /queue/tree/print =count-only= ?parent=bridge
> !done =ret=2
< /queue/tree/find ?parent=bridge
> !done =ret=*1;*3
< /queue/tree/add =name=guest =parent=ether3 =max-limit=5M =queue=cake-upload "=comment=for the guests"
> !done =ret=*5
< /queue/tree/print ?name=guest
> !re =.id=*5 =name=guest =parent=ether3 =packet-mark= =limit-at=0 =queue=cake-upload =priority=8 =max-limit=5000000 =burst-limit=0 =burst-threshold=0 =burst-time=0s =bucket-size=0.1 =comment=for the guests =disabled=false =invalid=false =rate=0 =packet-rate=0 =queued-bytes=0 =queued-packets=0 =bytes=0 =packets=0 =dropped=0
> !done
< /queue/tree/remove =.id=*5
> !empty
> !done
< /queue/tree/add =name=guest =parent=ether3
> !done =ret=*6
< /ip/address/add =address=192.168.88.1 =interface=asdf
> !trap =category=1 =message=input does not match any value of interface
> !done
< /system/resource/print =.proplist=version,board-name,uptime
> !re =version=7.22.3 (stable) =board-name=RB5009UG+S+ =uptime=1d2h14m9s
> !done
< /system/identity/set =name=edge
> !empty
> !done
< /system/identity/print
> !re =name=edge
> !done
< /ip/firewall/mangle/enable =.id=*1
> !empty
> !done
< /ip/firewall/mangle/print =.proplist=.id,comment,disabled ?.id=*1
> !re =.id=*1 =comment=ADAPTIVE: Steer latency-sensitive to ATT =disabled=false
> !done
< /ip/firewall/mangle/disable =.id=*1,*2
> !empty
> !done
< /ip/firewall/mangle/print =.proplist=.id,disabled
> !re =.id=*1 =disabled=true
> !re =.id=*2 =disabled=true
> !re =.id=*3 =disabled=false
> !re =.id=*4 =disabled=false
> !done
< /quit
> !fatal session terminated on request
> (closed)
-- What is refused.
< /login =name=wanctl =password=secret
> !done
< /queue/tree/set =.id=*99 =max-limit=1M
> !trap =category=0 =message=no such item
> !done
< /queue/tree/set =max-limit=1M
> !trap =category=0 =message=missing =.id=
> !done
< /queue/tree/set =.id= =max-limit=1M
> !trap =category=0 =message=no such item
> !done
< /queue/tree/set =.id=*4 =max-limit=fast
> !trap =category=1 =message=invalid value for argument max-limit
> !done
< /queue/tree/set =.id=*4 =max_limit=1M
> !trap =message=unknown parameter max_limit
> !done
< /queue/tree/set =.id=*4 =queue=nosuch
> !trap =category=1 =message=input does not match any value of queue
> !done
< /queue/tree/add =name=x
> !trap =category=0 =message=missing =parent=
> !done
< /queue/tree/add =name=WAN-Upload-ATT =parent=ether1
> !trap =category=4 =message=failure: already have queue with such name
> !done
< /queue/simple/add =target=192.168.88.0/24 =priority=8
> !trap =category=1 =message=expected value of download-priority
> !done
< /queue/tree/explode
> !trap =category=0 =message=no such command
> !done
< /queue/bush/print
> !trap =category=0 =message=no such command prefix
> !done
< /nosuch
> !trap =category=0 =message=no such command
> !done
< /queue/tree/print ?#&
> !trap =category=5 =message=invalid query word "#&"
> !done
< /queue/tree/print =group-by=parent
> !trap =category=4 =message=failure: the emulator's print has no group-by
> !done
< /queue/tree/print =order-by=name
> !trap =message=unknown parameter order-by
> !done
< /user/add =name=eve =group=full =password=x
> !trap =message=not enough permissions (9)
> !done
