-- The menus beside the queues: what they hold, and what they refuse.
@user root=full
< /login =name=root =password=secret
> !done
-- Queue types and simple queues.
< /queue/type/add =name=fq =kind=fq-codel =fq-codel-quantum=300
> !done =ret=*C
< /queue/type/add =name=bad =kind=pie
> !trap =category=1 =message=input does not match any value of kind
> !done
< /queue/type/set =.id=cake-upload =cake-overhead-scheme=ethernet =cake-memlimit=32M =cake-rtt=50ms
> !empty
> !done
< /queue/type/print ?name=cake-upload
> !re =.id=*3 =name=cake-upload =kind=cake =cake-diffserv=diffserv4 =cake-flowmode=dual-srchost =cake-nat=true =cake-ack-filter=none =cake-rtt=50ms =cake-rtt-scheme=none =default=false =cake-atm=none =cake-memlimit=32M =cake-overhead-scheme=ethernet
> !done
< /queue/type/set =.id=cake-upload =cake-nat=perhaps
> !trap =category=1 =message=invalid value for argument cake-nat
> !done
< /queue/type/set =.id=cake-upload =cake-rtt=soon
> !trap =category=1 =message=invalid value for argument cake-rtt
> !done
< /queue/simple/add =name=guests =target=192.168.99.0/24 =max-limit=5M/20M =queue=cake-upload/cake-download
> !done =ret=*1
< /queue/simple/print ?name=guests
> !re =.id=*1 =name=guests =target=192.168.99.0/24 =parent=none =packet-marks= =priority=8/8 =queue=cake-upload/cake-download =limit-at=0/0 =max-limit=5000000/20000000 =burst-limit=0/0 =burst-threshold=0/0 =burst-time=0s/0s =bucket-size=0.1/0.1 =disabled=false =invalid=false =dynamic=false =total-queue=default-small =rate=0/0 =packet-rate=0/0 =queued-bytes=0/0 =queued-packets=0/0 =bytes=0/0 =packets=0/0 =dropped=0/0
> !done
< /queue/simple/set =.id=guests =max-limit=fast/slow
> !trap =category=1 =message=invalid value for argument max-limit
> !done
< /queue/simple/set =.id=guests =priority=9/1
> !trap =category=1 =message=value of priority out of range (1..8)
> !done
< /queue/simple/set =.id=guests =priority=2/3
> !empty
> !done
< /queue/simple/get =.id=guests =value-name=priority
> !done =ret=2/3
< /queue/simple/add =copy-from=guests =name=kids =target=192.168.98.0/24
> !done =ret=*2
< /queue/simple/print =.proplist=name,target,max-limit,priority
> !re =name=guests =target=192.168.99.0/24 =max-limit=5000000/20000000 =priority=2/3
> !re =name=kids =target=192.168.98.0/24 =max-limit=5000000/20000000 =priority=2/3
> !done
< /queue/simple/move =numbers=kids =destination=guests
> !empty
> !done
< /queue/simple/print =.proplist=name
> !re =name=kids
> !re =name=guests
> !done
< /queue/interface/print ?interface=ether1
> !re =.id=*1 =interface=ether1 =queue=only-hardware-queue =active-queue=only-hardware-queue =default-queue=only-hardware-queue
> !done
< /queue/interface/set =.id=ether1 =queue=fq
> !empty
> !done
-- Rules, ordered.
< /ip/firewall/filter/add =chain=forward =action=drop =dscp=64
> !trap =category=1 =message=value of dscp out of range (0..63)
> !done
< /ip/firewall/filter/add =chain=forward =action=drop =dscp=x
> !trap =category=1 =message=invalid value for argument dscp
> !done
< /ip/firewall/filter/add =chain=forward =action=teleport
> !trap =category=1 =message=input does not match any value of action
> !done
< /ip/firewall/filter/add =chain=forward =action=drop =in-interface=!ether1 =connection-state=new,invalid =dscp=!46
> !done =ret=*1
< /ip/firewall/filter/add =chain=input =in-interface=nosuch
> !trap =category=1 =message=input does not match any value of in-interface
> !done
< /ip/firewall/filter/add =chain=input =in-interface-list=!WAN
> !trap =category=1 =message=input does not match any value of in-interface-list
> !done
< /interface/list/add =name=WAN
> !done =ret=*5
< /interface/list/add =name=WAN
> !trap =category=4 =message=failure: already have such entry
> !done
< /interface/list/member/add =list=WAN =interface=ether1
> !done =ret=*1
< /ip/firewall/filter/add =chain=input =in-interface-list=!WAN =place-before=*1
> !done =ret=*2
< /ip/firewall/filter/print =chain=input
> !re =.id=*2 =chain=input =action=accept =in-interface-list=!WAN =log=false =log-prefix= =disabled=false =invalid=false =dynamic=false =bytes=0 =packets=0
> !done
< /ip/firewall/filter/print =static= =.proplist=.id,chain
> !re =.id=*2 =chain=input
> !re =.id=*1 =chain=forward
> !done
< /ip/firewall/filter/print =dynamic=
> !empty
> !done
< /ip/firewall/filter/print =from=*1 =.proplist=.id
> !re =.id=*1
> !done
< /ip/firewall/filter/unset =.id=*1 =value-name=dscp
> !empty
> !done
< /ip/firewall/filter/unset =.id=*1 =value-name=colour
> !trap =category=1 =message=input does not match any value of value-name
> !done
< /ip/firewall/filter/comment =numbers=*1 =comment=hello
> !empty
> !done
< /ip/firewall/filter/print ?.id=*1
> !re =.id=*1 =chain=forward =action=drop =connection-state=new,invalid =in-interface=!ether1 =log=false =log-prefix= =comment=hello =disabled=false =invalid=false =dynamic=false =bytes=0 =packets=0
> !done
< /ip/firewall/filter/reset-counters =numbers=*1
> !empty
> !done
< /ip/firewall/filter/reset-counters-all
> !empty
> !done
< /ip/firewall/nat/add =chain=srcnat =action=masquerade =out-interface-list=WAN
> !done =ret=*1
< /ip/firewall/address-list/add =list=calls =address=203.0.113.0/24 =timeout=1d
> !done =ret=*1
< /ip/firewall/address-list/print
> !re =.id=*1 =list=calls =address=203.0.113.0/24 =timeout=1d =disabled=false =dynamic=true
> !done
< /ipv6/firewall/mangle/add =chain=forward =action=mark-packet =new-packet-mark=six
> !done =ret=*1
< /ipv6/firewall/filter/add =chain=forward =action=fasttrack-connection
> !done =ret=*1
-- Tables, rules, routes, addresses.
< /ip/firewall/mangle/add =chain=prerouting =action=mark-routing =new-routing-mark=wan3
> !trap =category=1 =message=input does not match any value of new-routing-mark
> !done
< /routing/table/add =name=wan3 =fib=
> !done =ret=*3
< /routing/table/add =name=wan4 =fib=perhaps
> !trap =category=1 =message=invalid value for argument fib
> !done
< /routing/table/print
> !re =.id=*1 =name=main =fib= =disabled=false =invalid=false =dynamic=true
> !re =.id=*2 =name=via-att =fib= =disabled=false =invalid=false =dynamic=false
> !re =.id=*3 =name=wan3 =fib= =disabled=false =invalid=false =dynamic=false
> !done
< /ip/firewall/mangle/add =chain=prerouting =action=mark-routing =new-routing-mark=wan3
> !done =ret=*5
< /routing/table/set =.id=wan3 =name=third
> !empty
> !done
< /ip/firewall/mangle/print =.proplist=new-routing-mark ?new-routing-mark=third
> !re =new-routing-mark=third
> !done
< /routing/rule/add =action=lookup-only-in-table =table=third =src-address=192.168.88.6
> !done =ret=*1
< /routing/rule/print
> !re =.id=*1 =src-address=192.168.88.6 =action=lookup-only-in-table =table=third =disabled=false =inactive=false
> !done
< /ip/route/add =gateway=203.0.113.1 =routing-table=nosuch
> !trap =category=1 =message=input does not match any value of routing-table
> !done
< /ip/route/add =gateway=203.0.113.1 =routing-table=third =check-gateway=ping =distance=2
> !done =ret=*1
< /ip/route/set =.id=*1 =check-gateway=sometimes
> !trap =category=1 =message=input does not match any value of check-gateway
> !done
< /ip/route/print
> !re =.id=*1 =dst-address=0.0.0.0/0 =gateway=203.0.113.1 =routing-table=third =distance=2 =scope=30 =target-scope=10 =check-gateway=ping =pref-src= =disabled=false =active=true =static=true =dynamic=false
> !done
< /ip/address/add =address=10.0.0.1/24 =interface=ether3
> !done =ret=*4
< /ip/address/add =address=10.0.0.300 =interface=ether3
> !trap =category=1 =message=invalid value for argument address
> !done
< /ip/address/set =.id=*4 =address=10.0.1.7
> !empty
> !done
< /ip/address/print ?interface=ether3
> !re =.id=*4 =address=10.0.1.7/32 =network=10.0.1.7 =interface=ether3 =disabled=false =dynamic=false
> !done
< /ip/settings/set =rp-filter=loose
> !empty
> !done
< /ip/settings/set =rp-filter=sometimes
> !trap =category=1 =message=input does not match any value of rp-filter
> !done
< /ip/settings/print =.proplist=rp-filter,ipv4-fasttrack-active
> !re =rp-filter=loose =ipv4-fasttrack-active=false
> !done
-- Accounts.
< /user/group/add =name=ctl =policy=read,write,api
> !done =ret=*4
< /user/group/set =.id=ctl =policy=test,!write
> !empty
> !done
< /user/group/set =.id=ctl =policy=everything
> !trap =category=1 =message=input does not match any value of policy
> !done
< /user/group/add =policy=read
> !trap =category=4 =message=failure: invalid group name
> !done
< /user/group/print =.proplist=name,policy ?name=ctl
> !re =name=ctl =policy=read,test,api,!local,!telnet,!ssh,!ftp,!reboot,!write,!policy,!winbox,!password,!web,!sniff,!sensitive,!romon,!rest-api
> !done
< /user/add =name=bot =group=nosuch =password=x
> !trap =category=1 =message=input does not match any value of group
> !done
< /user/add =name=bot =group=ctl =password=x =address=192.0.2.0/24,2001:db8::1
> !done =ret=*4
< /user/set =.id=bot =address=somewhere
> !trap =category=1 =message=invalid value for argument address
> !done
< /user/print ?name=bot
> !re =.id=*4 =name=bot =group=ctl =address=192.0.2.0/24,2001:db8::1 =inactivity-timeout=10m =inactivity-policy=none =disabled=false
> !done
< /user/get =.id=bot =value-name=password
> !done =ret=
< /user/get =.id=bot
> !trap =category=0 =message=missing =value-name=
> !done
< /user/get =.id=bot =value-name=colour
> !trap =category=1 =message=input does not match any value of value-name
> !done
< /user/remove =.id=bot
> !empty
> !done
< /ip/service/print =.proplist=name,port,disabled ?disabled=false
> !re =name=ssh =port=22 =disabled=false
> !re =name=www =port=80 =disabled=false
> !re =name=www-ssl =port=443 =disabled=false
> !re =name=api =port=8728 =disabled=false
> !re =name=api-ssl =port=8729 =disabled=false
> !done
< /ip/service/set =.id=api =address=192.0.2.0/24 =tls-version=any
> !empty
> !done
< /ip/service/set =.id=api =address=nowhere
> !trap =category=1 =message=invalid value for argument address
> !done
-- What else there is.
< /system/scheduler/add =name=daily =interval=1d =on-event=hello
> !done =ret=*1
< /system/script/add =name=hello =source=:put
> !done =ret=*1
< /tool/netwatch/add =host=192.0.2.53 =type=icmp =interval=30s
> !done =ret=*1
< /tool/netwatch/add =host=192.0.2.53 =type=magic
> !trap =category=1 =message=input does not match any value of type
> !done
< /system/clock/print
> !re =time=00:00:00 =date=2000-01-01 =time-zone-autodetect=true =time-zone-name=manual =gmt-offset=+00:00 =dst-active=false
> !done
< /system/clock/set =time-zone-name=Europe/Vienna
> !empty
> !done
< /interface/set =.id=ether3 =name=lan3 =mtu=1480
> !empty
> !done
< /ip/address/print =.proplist=interface ?interface=lan3
> !re =interface=lan3
> !done
< /interface/set =.id=lan3 =name=ether1
> !trap =category=4 =message=failure: already have such entry
> !done
< /interface/print =follow-only= =.proplist=name .tag=f
@run /interface/disable lan3
> !re =name=lan3 .tag=f
< /cancel =tag=f
> !trap =category=2 =message=interrupted .tag=f
> !done
> !done .tag=f
< /queue/type/print =follow= =.proplist=name ?name=fq .tag=g
> !re =name=fq .tag=g
< /cancel =tag=g
> !trap =category=2 =message=interrupted .tag=g
> !done
> !done .tag=g
< /queue/tree/print =follow-strict=
> !trap =message=unknown parameter follow-strict
> !done
< /queue/tree/print =where=
> !trap =message=unknown parameter where
> !done
< /interface/monitor-traffic =interface=ether1 =duration=2s =interval=1s
@wait 3s
> !re =name=ether1 =rx-packets-per-second=12500 =rx-bits-per-second=120000000 =tx-packets-per-second=625 =tx-bits-per-second=6000000 =.section=0
> !re =name=ether1 =rx-packets-per-second=12500 =rx-bits-per-second=120000000 =tx-packets-per-second=625 =tx-bits-per-second=6000000 =.section=1
> !re =name=ether1 =rx-packets-per-second=12500 =rx-bits-per-second=120000000 =tx-packets-per-second=625 =tx-bits-per-second=6000000 =.section=2
> !done
< /interface/monitor-traffic =interface=ether1 =duration=soon
> !trap =category=1 =message=invalid value for argument duration
> !done
< /interface/monitor-traffic =interface=ether1 =do=x
> !trap =category=4 =message=failure: the emulator runs no script from do
> !done
< /interface/monitor-traffic =interface=ether1 =interval=1ms
> !trap =category=1 =message=value of interval out of range (00:00:00.020..)
> !done
< /interface/monitor-traffic =interface=ether1 =interval=x
> !trap =category=1 =message=invalid value for argument interval
> !done
< /tool/ping =address=192.0.2.1 =count=none
> !trap =category=1 =message=invalid value for argument count
> !done
< /tool/ping =address=192.0.2.1 =interval=x
> !trap =category=1 =message=invalid value for argument interval
> !done
< /ip/firewall/connection/print
> !empty
> !done
@fault garble=html
< /system/identity/print
> (unexpected EOF)
