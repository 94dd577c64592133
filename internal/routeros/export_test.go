package routeros

// OneByOne makes a client ask one command after the other, as it did before it could ask several at once.
func (o *Options) OneByOne() { o.single = true }
