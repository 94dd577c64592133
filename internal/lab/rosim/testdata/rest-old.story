-- 7.14 refuses a content type with a charset, and has no switch for REST. A router as measured says 200 for all.
@version 7.14.3
@dialect reflect-expected
@door www
@as wanctl
< PATCH /rest/queue/tree/*1 (application/json; charset=utf-8) {"max-limit":"1M"}
> 415 Unsupported Media Type; application/json
> {"error":415,"message":"Unsupported Media Type"}
< PUT /rest/queue/tree {"name":"x","parent":"ether1"}
> 200 OK; application/json
> {".id":"*5","name":"x","parent":"ether1","packet-mark":"","limit-at":"0","queue":"default-small","priority":"8","max-limit":"0","burst-limit":"0","burst-threshold":"0","burst-time":"0s","bucket-size":"0.1","disabled":"false","invalid":"false","rate":"0","packet-rate":"0","queued-bytes":"0","queued-packets":"0","bytes":"0","packets":"0","dropped":"0"}
< DELETE /rest/queue/tree/x
> 200 OK; application/json
> []
< GET /rest/ip/service/webserver
> 404 Not Found; application/json
> {"error":404,"message":"Not Found"}
