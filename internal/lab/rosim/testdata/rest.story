-- REST: every operation of the manual's table.
@door www
@as root
@user root=full
< GET /rest/queue/tree?.proplist=name,max-limit
> 200 OK; application/json
> [{".id":"*1","name":"WAN-Download-Spectrum","max-limit":"940000000"},{".id":"*2","name":"WAN-Upload-Spectrum","max-limit":"38000000"},{".id":"*3","name":"WAN-Download-ATT","max-limit":"95000000"},{".id":"*4","name":"WAN-Upload-ATT","max-limit":"18000000"}]
< GET /rest/queue/tree?name=WAN-Upload-ATT&disabled=false
> 200 OK; application/json
> [{".id":"*4","name":"WAN-Upload-ATT","parent":"ether2","packet-mark":"no-mark","limit-at":"0","queue":"cake-upload","priority":"8","max-limit":"18000000","burst-limit":"0","burst-threshold":"0","burst-time":"0s","bucket-size":"0.1","disabled":"false","invalid":"false","rate":"0","packet-rate":"0","queued-bytes":"0","queued-packets":"0","bytes":"0","packets":"0","dropped":"0"}]
< GET /rest/queue/tree?name=nobody
> 200 OK; application/json
> []
< GET /rest/queue/tree/*4
> 200 OK; application/json
> {".id":"*4","name":"WAN-Upload-ATT","parent":"ether2","packet-mark":"no-mark","limit-at":"0","queue":"cake-upload","priority":"8","max-limit":"18000000","burst-limit":"0","burst-threshold":"0","burst-time":"0s","bucket-size":"0.1","disabled":"false","invalid":"false","rate":"0","packet-rate":"0","queued-bytes":"0","queued-packets":"0","bytes":"0","packets":"0","dropped":"0"}
< GET /rest/queue/tree/WAN-Upload-ATT?.proplist=max-limit
> 200 OK; application/json
> {".id":"*4","max-limit":"18000000"}
< GET /rest/queue/tree/*99
> 404 Not Found; application/json
> {"error":404,"message":"Not Found"}
< GET /rest/queue/tree/nobody
> 404 Not Found; application/json
> {"error":404,"message":"Not Found"}
< PUT /rest/queue/tree {"name":"guest","parent":"ether3","max-limit":5000000,"comment":"a \"guest\" <x>"}
> 201 Created; application/json; /rest/queue/tree/*5
> {".id":"*5","name":"guest","parent":"ether3","packet-mark":"","limit-at":"0","queue":"default-small","priority":"8","max-limit":"5000000","burst-limit":"0","burst-threshold":"0","burst-time":"0s","bucket-size":"0.1","comment":"a \"guest\" <x>","disabled":"false","invalid":"false","rate":"0","packet-rate":"0","queued-bytes":"0","queued-packets":"0","bytes":"0","packets":"0","dropped":"0"}
< PATCH /rest/queue/tree/*5 {"max-limit":"7M","comment":null}
> 200 OK; application/json
> {".id":"*5","name":"guest","parent":"ether3","packet-mark":"","limit-at":"0","queue":"default-small","priority":"8","max-limit":"7000000","burst-limit":"0","burst-threshold":"0","burst-time":"0s","bucket-size":"0.1","disabled":"false","invalid":"false","rate":"0","packet-rate":"0","queued-bytes":"0","queued-packets":"0","bytes":"0","packets":"0","dropped":"0"}
< PATCH /rest/queue/tree/guest {"name":"guests","comment":""}
> 200 OK; application/json
> {".id":"*5","name":"guests","parent":"ether3","packet-mark":"","limit-at":"0","queue":"default-small","priority":"8","max-limit":"7000000","burst-limit":"0","burst-threshold":"0","burst-time":"0s","bucket-size":"0.1","disabled":"false","invalid":"false","rate":"0","packet-rate":"0","queued-bytes":"0","queued-packets":"0","bytes":"0","packets":"0","dropped":"0"}
< PATCH /rest/queue/tree/guest {"max-limit":"7M"}
> 404 Not Found; application/json
> {"error":404,"message":"Not Found"}
< DELETE /rest/queue/tree/guests
> 204 No Content
< DELETE /rest/queue/tree/*5
> 404 Not Found; application/json
> {"error":404,"message":"Not Found"}
< POST /rest/queue/tree/print {".query":["name=WAN-Upload-ATT"],".proplist":["name","max-limit"]}
> 200 OK; application/json
> [{"name":"WAN-Upload-ATT","max-limit":"18000000"}]
< POST /rest/queue/tree/print {".query":["parent=bridge","parent=ether1","#|"],".proplist":".id"}
> 200 OK; application/json
> [{".id":"*1"},{".id":"*2"},{".id":"*3"}]
< POST /rest/queue/tree/print {"count-only":"",".query":["parent=bridge"]}
> 200 OK; application/json
> {"ret":"2"}
< POST /rest/queue/tree/add {"name":"x","parent":"ether3"}
> 200 OK; application/json
> {"ret":"*6"}
< POST /rest/queue/tree/remove {".id":"*6"}
> 200 OK; application/json
> []
< POST /rest/ip/firewall/mangle/enable {".id":"*1"}
> 200 OK; application/json
> []
< POST /rest/ip/firewall/mangle/disable {"numbers":"*1"}
> 200 OK; application/json
> []
< POST /rest/ip/firewall/mangle/set {".id":"*1,*2","disabled":"yes"}
> 200 OK; application/json
> []
< POST /rest/ip/firewall/mangle/print {".proplist":[".id","disabled"]}
> 200 OK; application/json
> [{".id":"*1","disabled":"true"},{".id":"*2","disabled":"true"},{".id":"*3","disabled":"false"},{".id":"*4","disabled":"false"}]
< POST /rest/ip/firewall/mangle/move {".id":"*4","destination":"*2"}
> 200 OK; application/json
> []
< POST /rest/ip/firewall/mangle/print {".proplist":[".id"]}
> 200 OK; application/json
> [{".id":"*1"},{".id":"*4"},{".id":"*2"},{".id":"*3"}]
< PUT /rest/ip/firewall/mangle {"chain":"prerouting","action":"accept","place-before":"*1","in-interface":"bridge"}
> 201 Created; application/json; /rest/ip/firewall/mangle/*5
> {".id":"*5","chain":"prerouting","action":"accept","in-interface":"bridge","log":"false","log-prefix":"","disabled":"false","invalid":"false","dynamic":"false","bytes":"0","packets":"0"}
< POST /rest/ip/firewall/mangle/print {".proplist":[".id","action"]}
> 200 OK; application/json
> [{".id":"*5","action":"accept"},{".id":"*1","action":"mark-connection"},{".id":"*4","action":"mark-packet"},{".id":"*2","action":"mark-routing"},{".id":"*3","action":"mark-packet"}]
< GET /rest/system/resource?.proplist=version,board-name
> 200 OK; application/json
> {"version":"7.22.3 (stable)","board-name":"RB5009UG+S+"}
< POST /rest/system/identity/set {"name":"edge"}
> 200 OK; application/json
> []
< GET /rest/system/identity
> 200 OK; application/json
> {"name":"edge"}
< PATCH /rest/system/identity {"name":"x"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"missing or invalid resource identifier"}
< PATCH /rest/queue/tree {"name":"x"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"missing or invalid resource identifier"}
< POST /rest/queue/tree/reset-counters {".id":"*1"}
> 200 OK; application/json
> []
< POST /rest/interface/monitor-traffic {"interface":"ether1","once":""}
@wait 1s
> 200 OK; application/json
> [{"name":"ether1","rx-packets-per-second":"12500","rx-bits-per-second":"120000000","tx-packets-per-second":"625","tx-bits-per-second":"6000000"}]
< POST /rest/tool/ping {"address":"192.0.2.1","count":"2"}
@wait 2s
> 200 OK; application/json
> [{"seq":"0","host":"192.0.2.1","size":"56","ttl":"58","time":"12ms","sent":"1","received":"1","packet-loss":"0","min-rtt":"12ms","avg-rtt":"12ms","max-rtt":"12ms"},{"seq":"1","host":"192.0.2.1","size":"56","ttl":"58","time":"12ms","sent":"2","received":"2","packet-loss":"0","min-rtt":"12ms","avg-rtt":"12ms","max-rtt":"12ms"}]
< POST /rest/execute {"script":":put [/queue/tree get [find name=WAN-Upload-ATT] max-limit]","as-string":""}
> 200 OK; application/json
> {"ret":"18000000"}
< POST /rest/execute {"script":":put [","as-string":""}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"missing closing brace"}
-- What is refused.
< GET /rest/nosuch
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command or directory (nosuch)"}
< GET /rest/queue
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command"}
< GET /rest/queue/bush
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command or directory (bush)"}
< GET /rest/queue/tree/a/b
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command or directory (a)"}
< GET /rest/system/identity/x
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command or directory (x)"}
< POST /rest/queue/tree {}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command"}
< POST /rest/queue/tree/explode {}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command"}
< POST /rest/nosuch/print {}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command prefix"}
< PUT /rest/queue/tree {"name":"x"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"missing =parent="}
< PUT /rest/queue/tree {"name":"x","parent":"ether1","colour":"red"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"unknown parameter colour"}
< PUT /rest/queue/tree/*1 {"name":"x"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command"}
< PUT /rest/system/resource {"name":"x"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"no such command"}
< PATCH /rest/queue/tree/*1 {"max-limit":"fast"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"invalid value for argument max-limit"}
< PATCH /rest/queue/tree/*1 {"queue":"nosuch"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"input does not match any value of queue"}
< PATCH /rest/queue/tree/%2A1 {"max-limit":"1M"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"missing or invalid resource identifier"}
< PATCH /rest/queue/tree/*1 {"max-limit":["1M"]}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"Failed to parse json"}
< PATCH /rest/queue/tree/*1 {"colour":null}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"unknown parameter colour"}
< PATCH /rest/queue/tree/*1 {"max-limit"
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"Failed to parse json"}
< PATCH /rest/queue/tree/*1 (text/plain) {"max-limit":"1M"}
> 415 Unsupported Media Type; application/json
> {"error":415,"message":"Unsupported Media Type"}
< PATCH /rest/queue/tree/*1 (application/json; charset=utf-8) {"max-limit":"1M"}
> 200 OK; application/json
> {".id":"*1","name":"WAN-Download-Spectrum","parent":"bridge","packet-mark":"dl-spectrum","limit-at":"0","queue":"cake-download","priority":"8","max-limit":"1000000","burst-limit":"0","burst-threshold":"0","burst-time":"0s","bucket-size":"0.1","disabled":"false","invalid":"false","rate":"120000000","packet-rate":"12500","queued-bytes":"0","queued-packets":"0","bytes":"45000000","packets":"37500","dropped":"0"}
< POST /rest/queue/tree/print {".query":["#&"]}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"invalid query word \"#&\""}
< POST /rest/queue/tree/print [1]
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"Failed to parse json"}
< POST /rest/queue/tree/print {"a":{"b":1}}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"Failed to parse json"}
< POST /rest/ip/firewall/mangle/unset {".id":"*1","value-name":"comment"}
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"missing or invalid resource identifier"}
< OPTIONS /rest/queue/tree
> 503 Service Unavailable; application/json
> {"error":503,"message":"Service Unavailable"}
< HEAD /rest/queue/tree
> 400 Bad Request; application/json
> (unexpected EOF)
< GET /webfig/
> 404 Not Found; text/html
> <html>
> <head><title>404 Not Found</title></head>
> <body><h1>404 Not Found</h1></body>
> </html>
-- An abandoned or endless command ends after a minute.
< POST /rest/queue/tree/listen {}
@wait 59s
@wait 1s
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"Session closed"}
@fault slow=61s
< GET /rest/queue/tree/*1
@wait 60s
> 400 Bad Request; application/json
> {"error":400,"message":"Bad Request","detail":"Session closed"}
