-- Who may use REST, and how late a change is seen.
@version 7.24
@door www
@group rest=read,write,api,rest-api
@group noapi=read,write,rest-api
@group norest=read,write,api
@group looker=read,api,rest-api
@user rest=rest
@user noapi=noapi
@user norest=norest
@user looker=looker
@user root=full
@as -
< GET /rest/system/identity
> 401 Unauthorized; application/json; Basic realm="RouterOS REST API"
> {"error":401,"message":"Unauthorized"}
@as rest:wrong
< GET /rest/system/identity
> 401 Unauthorized; application/json; Basic realm="RouterOS REST API"
> {"error":401,"message":"Unauthorized"}
@as nobody
< GET /rest/system/identity
> 401 Unauthorized; application/json; Basic realm="RouterOS REST API"
> {"error":401,"message":"Unauthorized"}
@as norest
< GET /rest/system/identity
> 401 Unauthorized; application/json; Basic realm="RouterOS REST API"
> {"error":401,"message":"Unauthorized"}
@as noapi
< GET /rest/system/identity
> 500 Internal Server Error; application/json
> {"error":500,"message":"Internal Server Error","detail":"std failure: not allowed (9)"}
@as rest
< GET /rest/system/identity
> 200 OK; application/json
> {"name":"rb5009"}
@as looker
< GET /rest/system/identity
> 200 OK; application/json
> {"name":"rb5009"}
< PATCH /rest/queue/tree/*1 {"max-limit":"1M"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"missing or invalid resource identifier"}
< POST /rest/queue/tree/set {".id":"*1","max-limit":"1M"}
> 500 Internal Server Error; application/json
> {"error":500,"message":"Internal Server Error","detail":"not enough permissions (9)"}
< DELETE /rest/queue/tree/*1
> 500 Internal Server Error; application/json
> {"error":500,"message":"Internal Server Error","detail":"not enough permissions (9)"}
< PUT /rest/queue/tree {"parent":"ether1"}
> 500 Internal Server Error; application/json
> {"error":500,"message":"Internal Server Error","detail":"not enough permissions (9)"}
-- For ten minutes neither rights nor password change for who has logged in.
@run /user/set looker group=write password=other
< PATCH /rest/queue/tree/*1 {"max-limit":"1M"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"missing or invalid resource identifier"}
@wait 9m
< GET /rest/queue/tree/*1?.proplist=max-limit
> 200 OK; application/json
> {".id":"*1","max-limit":"940000000"}
@wait 2m
< GET /rest/queue/tree/*1?.proplist=max-limit
> 401 Unauthorized; application/json; Basic realm="RouterOS REST API"
> {"error":401,"message":"Unauthorized"}
@as looker:other
< PATCH /rest/queue/tree/*1?.proplist=max-limit {"max-limit":"1M"}
> 200 OK; application/json
> {".id":"*1","name":"WAN-Download-Spectrum","parent":"bridge","packet-mark":"dl-spectrum","limit-at":"0","queue":"cake-download","priority":"8","max-limit":"1000000","burst-limit":"0","burst-threshold":"0","burst-time":"0s","bucket-size":"0.1","disabled":"false","invalid":"false","rate":"120000000","packet-rate":"12500","queued-bytes":"0","queued-packets":"0","bytes":"9900000000","packets":"8250000","dropped":"0"}
-- Two rows for each login, for ever.
< GET /rest/user/active?.proplist=name,via
> 200 OK; application/json
> [{".id":"*1","name":"noapi","via":"rest-api"},{".id":"*2","name":"noapi","via":"api"},{".id":"*3","name":"rest","via":"rest-api"},{".id":"*4","name":"rest","via":"api"},{".id":"*5","name":"looker","via":"rest-api"},{".id":"*6","name":"looker","via":"api"},{".id":"*7","name":"looker","via":"rest-api"},{".id":"*8","name":"looker","via":"api"}]
@as root
< POST /rest/user/active/remove {".id":"*1"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"action failed (6)"}
-- The switches of the service and of the web server.
@run /ip/service/webserver/set rest-plain=no
< GET /rest/system/identity
> 403 Forbidden; text/html
> <html>
> <head><title>403 Forbidden</title></head>
> <body><h1>403 Forbidden</h1></body>
> </html>
@run /ip/service/webserver/set rest-plain=yes
< GET /rest/system/identity
> 200 OK; application/json
> {"name":"rb5009"}
@run /ip/service/set www available-from=198.51.100.0/24
@connect
< GET /rest/system/identity
> (closed)
@run /ip/service/set www available-from=""
@run /user/set rest address=198.51.100.9
@wait 11m
@as rest
< GET /rest/system/identity
> 401 Unauthorized; application/json; Basic realm="RouterOS REST API"
> {"error":401,"message":"Unauthorized"}
