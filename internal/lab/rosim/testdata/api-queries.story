-- Query words and their stack.
< /login =name=wanctl =password=secret
> !done
< /interface/print =.proplist=name ?type=ether ?type=bridge ?#|
> !re =name=ether1
> !re =name=ether2
> !re =name=ether3
> !re =name=bridge
> !done
< /interface/print =.proplist=name ?type=ether ?name=ether2 ?#&
> !re =name=ether2
> !done
< /interface/print =.proplist=name ?type=ether ?#!
> !re =name=bridge
> !done
< /interface/print =.proplist=name ?-comment
> !re =name=ether3
> !re =name=bridge
> !done
< /interface/print =.proplist=name ?comment
> !re =name=ether1
> !re =name=ether2
> !done
< /interface/print =.proplist=name ?=name=ether3
> !re =name=ether3
> !done
< /queue/tree/print =.proplist=name ?>max-limit=90M
> !re =name=WAN-Download-Spectrum
> !re =name=WAN-Download-ATT
> !done
< /queue/tree/print =.proplist=name ?<max-limit=38000000
> !re =name=WAN-Upload-ATT
> !done
< /queue/tree/print =.proplist=name ?max-limit=38M
> !re =name=WAN-Upload-Spectrum
> !done
< /queue/tree/print =.proplist=name ?<name=WAN-U
> !re =name=WAN-Download-Spectrum
> !re =name=WAN-Download-ATT
> !done
< /queue/tree/print =.proplist=name ?parent=bridge ?parent=ether1 ?parent=ether2 ?#||
> !re =name=WAN-Download-Spectrum
> !re =name=WAN-Upload-Spectrum
> !re =name=WAN-Download-ATT
> !re =name=WAN-Upload-ATT
> !done
< /queue/tree/print =.proplist=name ?parent=bridge ?parent=ether1 ?#01&0
> !empty
> !done
< /queue/tree/print =.proplist=name ?parent=bridge ?#.&
> !re =name=WAN-Download-Spectrum
> !re =name=WAN-Download-ATT
> !done
< /queue/tree/print =.proplist=name ?parent=bridge ?#0.&
> !re =name=WAN-Download-Spectrum
> !re =name=WAN-Download-ATT
> !done
< /queue/tree/print =.proplist=name ?disabled=no ?colour=red ?#!
> !re =name=WAN-Download-Spectrum
> !re =name=WAN-Upload-Spectrum
> !re =name=WAN-Download-ATT
> !re =name=WAN-Upload-ATT
> !done
< /queue/tree/print =.proplist=name ?>colour=1
> !empty
> !done
< /queue/tree/print ?
> !trap =category=5 =message=invalid query word ""
> !done
< /queue/tree/print ?-name=x
> !trap =category=5 =message=invalid query word "-name=x"
> !done
< /queue/tree/print ?<name
> !trap =category=5 =message=invalid query word "<name"
> !done
< /queue/tree/print ?name ?#9
> !trap =category=5 =message=invalid query word "#9"
> !done
< /queue/tree/print ?name ?#x
> !trap =category=5 =message=invalid query word "#x"
> !done
< /queue/tree/print ?#!
> !trap =category=5 =message=invalid query word "#!"
> !done
< /queue/tree/print ?name ?#99999999999999999999
> !trap =category=5 =message=invalid query word "#99999999999999999999"
> !done
