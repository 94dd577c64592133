-- 7.14 knows neither !empty nor some arguments; 7.24 has no /ping of its own.
@version 7.14.3
< /login =name=wanctl =password=secret
> !done
< /queue/tree/print ?name=nobody
> !done
< /queue/tree/set =.id=*1 =max-limit=1M
> !done
< /queue/tree/print =group-by=parent
> !trap =message=unknown parameter group-by
> !done
< /ip/service/set =numbers=api =max-sessions=5
> !trap =message=unknown parameter max-sessions
> !done
< /ping =address=192.0.2.1 =count=1
> !re =seq=0 =host=192.0.2.1 =size=56 =ttl=58 =time=12ms =sent=1 =received=1 =packet-loss=0 =min-rtt=12ms =avg-rtt=12ms =max-rtt=12ms
> !done
< /ip/service/webserver/print
> !trap =category=0 =message=no such command prefix
> !done
