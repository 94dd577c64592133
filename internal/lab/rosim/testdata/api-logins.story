-- Who may come in, and what he may do.
@group nothing=read,write
@group looker=read,api
@user noapi=nothing
@user looker=looker
@user root=full
< /login =name=noapi =password=secret
> !trap =message=std failure: not allowed (9)
> !done
< /login =name=nobody =password=x
> !trap =message=invalid user name or password (6)
> !done
< /login =name=wanctl
> !trap =message=invalid user name or password (6)
> !done
< /login =name=wanctl =password=
> !trap =message=invalid user name or password (6)
> !done
< /login =name=wanctl =password=secret .tag=9
> !done .tag=9
@connect
< /login =name=wanctl =password=1
> !trap =message=invalid user name or password (6)
> !done
< /login =name=wanctl =password=2
> !trap =message=invalid user name or password (6)
> !done
< /login =name=wanctl =password=3
> !trap =message=invalid user name or password (6)
> !done
< /login =name=wanctl =password=4
> !trap =message=invalid user name or password (6)
> !done
< /login =name=wanctl =password=5
> !fatal too many commands before login
> (closed)
-- The rights are those of the login, until the next one.
< /login =name=looker =password=secret
> !done
< /queue/tree/print =count-only=
> !done =ret=4
< /queue/tree/set =.id=*1 =max-limit=1M
> !trap =message=not enough permissions (9)
> !done
< /tool/ping =address=192.0.2.1 =count=1
> !trap =message=not enough permissions (9)
> !done
< /user/active/print =.proplist=name,via,group,address
> !re =name=looker =via=api =group=looker =address=192.0.2.7
> !done
@run /user/set looker group=write
< /queue/tree/set =.id=*1 =max-limit=1M
> !trap =message=not enough permissions (9)
> !done
@connect
< /login =name=looker =password=secret
> !done
< /queue/tree/set =.id=*1 =max-limit=1M
> !empty
> !done
-- A new account, its password, its end.
@run /user/add name=bob group=read password=builder
@connect
< /login =name=bob =password=builder
> !done
@run /user/set bob password=other name=robert
@connect
< /login =name=robert =password=other
> !done
@run /user/active/remove [find name=robert]
> (closed)
@run /user/set robert address=198.51.100.0/24
< /login =name=robert =password=other
> !trap =message=invalid user name or password (6)
> !done
@run /user/set robert address=192.0.2.0/24
@connect
< /login =name=robert =password=other
> !done
@run /user/disable robert
@connect
< /login =name=robert =password=other
> !trap =message=invalid user name or password (6)
> !done
@run /user/remove robert
< /login =name=robert =password=other
> !trap =message=invalid user name or password (6)
> !done
-- The service's own switches.
@run /ip/service/set api address=198.51.100.0/24
@connect
< /login =name=wanctl =password=secret
> (closed)
@run /ip/service/set api address="" disabled=yes
< /login =name=wanctl =password=secret
> (closed)
@run /ip/service/set api disabled=no max-sessions=0
< /login =name=wanctl =password=secret
> (closed)
@run /ip/service/set api max-sessions=20
< /login =name=wanctl =password=secret
> !done
